"""Programs that a contract brings: its journeys and its scripts, run as files."""

import runpy
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from brownout.errors import FileError

__all__ = ["values_of"]


def values_of(path: Path) -> dict[str, Any]:
    """All values of a program by name; it may import from the files beside it.

    It leaves nothing in ``sys.modules``, where another folder's files may have the same names, nor on disk.

    Raises:
        FileError: it cannot be loaded.
    """
    try:
        with _importing_from(path.parent.resolve()):
            return runpy.run_path(str(path), run_name=path.stem)
    except Exception as error:  # noqa: BLE001 - whatever a user's file raises is told as the file's mistake
        raise FileError(str(path), f"cannot be loaded: {_line(error, path)}{_said(error)}") from None


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    before, no_bytecode = set(sys.modules), sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = no_bytecode
        for name in set(sys.modules) - before:
            origin = getattr(sys.modules[name], "__file__", None)
            if origin and Path(origin).parent == folder:
                del sys.modules[name]


def _line(error: Exception, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: "
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"line {lines[-1]}: " if lines else ""


def _said(error: Exception) -> str:
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {message}".splitlines()[0]
