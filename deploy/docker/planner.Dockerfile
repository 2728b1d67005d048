# The planner, and the command line (`starlings topics ensure`). Build it from the root of the repository: make images IMAGES=planner
ARG PYTHON=python:3.11-slim

# --- what is installed: the libraries, then our own code
FROM ${PYTHON} AS libraries
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/src/deploy/docker PIP_CACHE_DIR=/var/cache/pip
COPY deploy/docker/images /src/deploy/docker/images
COPY requirements.lock /src/
COPY sdk/pyproject.toml /src/sdk/
COPY services/planner/pyproject.toml /src/services/planner/
COPY services/coordinator/pyproject.toml /src/services/coordinator/
COPY services/agents/pyproject.toml /src/services/agents/
RUN --mount=type=cache,target=/var/cache/pip \
    python -m images.install foreign /opt/starlings starlings-planner 'starlings[cli,otlp]'

FROM libraries AS own
COPY sdk /src/sdk
COPY services /src/services
RUN --mount=type=cache,target=/var/cache/pip \
    python -m images.install own /opt/starlings-own starlings-planner 'starlings[cli,otlp]' \
 && python -m images.install sbom /opt/starlings-own/sbom.cdx.json starlings-planner 'starlings[cli,otlp]'

# --- the base without pip, documents and caches, compiled; one layer, the same below every image
FROM ${PYTHON} AS bare
COPY deploy/docker/images /src/images
RUN PYTHONPATH=/src python -m images.trim \
 && rm -r /src \
 && echo "starlings:x:10001:10001::/tmp:/bin/false" >>/etc/passwd \
 && echo "starlings:x:10001:" >>/etc/group \
 && mkdir -p /var/lib/starlings/blobs \
 && chown 10001:10001 /var/lib/starlings/blobs

FROM scratch AS base
COPY --from=bare / /
# The path of libraries is for a Python whose linker has no cache.
ENV PATH=/opt/starlings/bin:/opt/starlings-own/bin:/usr/local/bin:/usr/bin:/bin \
    LD_LIBRARY_PATH=/usr/local/lib \
    LANG=C.UTF-8 \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    STARLINGS_HEALTH_HOST=0.0.0.0 \
    STARLINGS_HEALTH_PORT=8080
WORKDIR /opt/starlings
EXPOSE 8080
USER 10001:10001

# --- says which image it is. Some engines take a step from their cache although its arguments
# differ; they do not where a file before it differs.
FROM libraries AS name
ARG VERSION=0
ARG REVISION=unknown
RUN echo "starlings-planner ${VERSION} ${REVISION}" >/opt/image

FROM base
COPY --from=libraries /opt/starlings /opt/starlings
COPY --from=own /opt/starlings-own /opt/starlings-own
COPY --from=name /opt/image /opt/image
ENTRYPOINT ["python", "-m", "starlings_planner"]
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="starlings-planner" \
      org.opencontainers.image.description="Turns requests into validated plans with a language model" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
