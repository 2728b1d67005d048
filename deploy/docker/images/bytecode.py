"""Compiles modules where nothing can be written once the program runs."""

from __future__ import annotations

import compileall
import py_compile
from pathlib import Path


def compile_folder(folder: Path) -> None:
    """Compile all below a folder, without times of files: the same sources give the same layer.

    Raises:
        ValueError: a module does not compile.
    """
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    if not compileall.compile_dir(folder, quiet=1, invalidation_mode=mode):
        raise ValueError(f"a module below {folder} does not compile")
