"""The folder that a command writes: new or empty, so that nothing of the user's is ever replaced."""

from __future__ import annotations

from pathlib import Path

from bayesflex.errors import InputError
from bayesflex.io.atomic import is_unfinished
from bayesflex.io.folder_lock import LOCK_FILE


def require_new_or_empty(path: Path, *, remedy: str = "Choose another with -o, or empty it.") -> None:
    """Check that a folder can be written without replacing anything; nothing is made yet.

    What a killed program left unfinished there does not count.

    Parameters
    ----------
    path
        The folder.
    remedy
        What the user can do where it holds files.

    Raises
    ------
    InputError
        If it is a file, cannot be looked into, or holds anything.
    """
    try:
        names = (entry.name for entry in path.iterdir())
        held = sorted(name for name in names if name != LOCK_FILE and not is_unfinished(name))
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise InputError(f"{path}: expected an output folder, got a file. Choose another name with -o.") from None
    except OSError as error:
        raise InputError(f"{path}: the output folder cannot be read ({error.strerror or error}).") from error
    if held:
        raise InputError(
            f"{path}: expected an output folder that is new or empty, got one with {len(held)} files or folders, "
            f"such as {held[0]}. {remedy}"
        )


def make_folder(path: Path) -> None:
    """Make a folder and those above it; one that is there is left as it is.

    Raises
    ------
    InputError
        If the operating system refuses.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: the output folder cannot be made ({error.strerror or error}). Choose another with -o."
        ) from error
