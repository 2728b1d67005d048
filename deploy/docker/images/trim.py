"""Takes away what no program reads when it runs: from libraries, and from the base image.

Run in the stage that strips the base: `python -m images.trim`.
"""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from .bytecode import compile_folder
from .debian import remove_packages

_FILES = ("*.pyi", "*.pyx", "*.pxd", "*.c", "*.h", "*.hpp", "*.a")
_FOLDERS = ("tests",)
_OF_PYTHON = (
    "config-*",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "site-packages/*",
    "test",
    "tkinter",
    "turtledemo",
    "unittest/test",
)
_OF_THE_BASE = (
    "usr/local/include/*",
    "usr/local/lib/pkgconfig",
    "usr/local/share/*",
    "usr/local/bin/2to3*",
    "usr/local/bin/idle*",
    "usr/local/bin/pip*",
    "usr/local/bin/pydoc*",
    "usr/local/bin/*-config",
    "usr/lib/*/gconv/*",  # conversions between character sets in C: Python has its own
    "usr/share/doc/*",
    "usr/share/info/*",
    "usr/share/locale/*",
    "usr/share/man/*",
    "var/cache/*",
    "var/lib/apt/lists/*",
    "var/log/*",
    "root/.cache",
    "root/.local",
)


def trim_packages(site: Path) -> None:
    """Take tests, stubs and sources in C out of installed libraries.

    A package whose very name is `tests` stays: only what lies within another is its own affair.
    """
    _remove(path for name in _FOLDERS for path in site.glob(f"*/**/{name}") if path.is_dir())
    _remove(path for name in _FILES for path in site.glob(f"*/**/{name}"))


def trim_environment(folder: Path) -> None:
    """Take out of a virtual environment what only people type, and compilers read."""
    _remove([*folder.glob("bin/[Aa]ctivate*"), folder / "include"])


def trim_base(root: Path, library: Path) -> None:
    """Take pip, documents, caches and what is unused out of a base; compile what stays."""
    remove_packages(root)
    _remove(path for pattern in _OF_PYTHON for path in library.glob(pattern))
    _remove(path for path in library.glob("**/__pycache__"))
    _remove(path for pattern in _OF_THE_BASE for path in root.glob(pattern))
    compile_folder(library)


def _remove(paths: Iterable[Path]) -> None:
    for path in list(paths):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    trim_base(Path("/"), Path(sysconfig.get_path("stdlib")))
