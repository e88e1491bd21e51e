"""Writing a file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bayesflex.errors import InputError

#: What the names of files begin with that are being written.
_PREFIX = ".writing-"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``, renamed onto it when the block succeeds and removed when it fails.

    The suffixes are kept, since writers choose a format by them.

    Raises
    ------
    InputError
        If the operating system refuses the file (no space left, no permission, no such folder).
    """
    temporary = path.with_name(f"{_PREFIX}{os.getpid()}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"{path}: cannot be written ({reason}); nothing was changed. "
            "Free some space or choose another folder with -o."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def is_unfinished(name: str) -> bool:
    """Tell whether a file of this name was being written by a program that was killed."""
    return name.startswith(_PREFIX)


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed program was writing in a folder, and in those within it, that no other writes now."""
    for path in folder.rglob(f"{_PREFIX}*"):
        path.unlink(missing_ok=True)
