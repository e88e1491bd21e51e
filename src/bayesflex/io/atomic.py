"""Writing a file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bayesflex.errors import InputError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``, renamed onto it when the block succeeds and removed when it fails.

    The suffixes are kept, since writers choose a format by them.

    Raises
    ------
    InputError
        If the operating system refuses the file (no space left, no permission, no such folder).
    """
    temporary = path.with_name(f".writing-{os.getpid()}-{path.name}")
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
