"""FolderLock: one program at a time writes a folder.

The file ``.lock`` in the folder names the process and the machine that write it. Where the operating system has
``flock`` the file is held by it as well, which ends with the process however it ends: a lock that a killed process left
behind is taken over. Of a process on another machine nothing can be known, and its lock stands until it is removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from pathlib import Path
from types import TracebackType

from bayesflex.errors import InputError

if sys.platform != "win32":
    import fcntl

LOCK_FILE = ".lock"


class FolderLock:
    """The lock of one folder; a context manager that gives it back.

    Parameters
    ----------
    folder
        An existing folder.
    remedy
        What the user can do where another process holds it.
    """

    def __init__(self, folder: Path, remedy: str = "Wait for it to end, or stop it.") -> None:
        self.folder = folder
        self.path = folder / LOCK_FILE
        self._remedy = remedy
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take the lock.

        Raises
        ------
        InputError
            If another process writes the folder, or the lock cannot be written.
        """
        try:
            self._take()
        except OSError as error:
            self.give_back()
            raise InputError(
                f"{self.path}: cannot be written ({error.strerror or error}). Choose another folder with -o, or make "
                "this one writable."
            ) from error

    def _take(self) -> None:
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            self._descriptor = descriptor
            held = not _try_lock(descriptor)
            if not held and not self._is_current(descriptor):
                self._close()  # its owner removed it in between
                continue
            owner = _owner(os.pread(descriptor, 4096, 0)) if hasattr(os, "pread") else None
            if held or (owner is not None and owner[1] != socket.gethostname()):
                self._close()
                raise self._refusal(owner)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
            return

    def _is_current(self, descriptor: int) -> bool:
        """Tell whether the file that was opened is still the one with the name."""
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _refusal(self, owner: tuple[int, str] | None) -> InputError:
        if owner is None:
            return InputError(f"{self.folder}: another process writes this folder. {self._remedy}")
        pid, host = owner
        here = host == socket.gethostname()
        unknown = "" if here else f" If it has ended there, remove {self.path}."
        return InputError(
            f"{self.folder}: process {pid} on {'this machine' if here else host} writes this folder. "
            f"{self._remedy}{unknown}"
        )

    def give_back(self) -> None:
        """Give the lock back; nothing happens where it is not held."""
        if self._descriptor is None:
            return
        # Removed while it is held: nobody can take it in between and lose it.
        with contextlib.suppress(OSError):
            self.path.unlink()
        self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> FolderLock:
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.give_back()


def _try_lock(descriptor: int) -> bool:
    """Take the operating system's lock of a file; return whether it was free."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(content: bytes) -> tuple[int, str] | None:
    """Return process and machine that a lock file names, or None where it names none."""
    try:
        named = json.loads(content)
        return int(named["pid"]), str(named["host"])
    except (ValueError, KeyError, TypeError):
        return None
