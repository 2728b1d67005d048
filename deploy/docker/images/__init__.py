"""Builds the container images: what goes into each, and how large it came out.

`python -m images` runs on the machine that builds (see `make images`); `python -m images.install`
runs inside a build stage. Rules:

- Inside a build stage there is only a bare Python, so everything here is the standard library.
- What is installed stands in `requirements.lock`, by its hash; nothing is resolved anew.
"""
