"""The lock of a folder: one process at a time, and what a killed one leaves is taken over."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from bayesflex.errors import InputError
from bayesflex.io.folder_lock import LOCK_FILE, FolderLock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the lock that ends with its process is POSIX's")

_HOLDER = """
import sys, time
from pathlib import Path
from bayesflex.io.folder_lock import FolderLock
FolderLock(Path(sys.argv[1])).take()
print("held", flush=True)
time.sleep(60)
"""


def test_a_lock_names_its_process_and_goes_when_it_is_given_back(tmp_path):
    with FolderLock(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text()) == {"pid": os.getpid(), "host": socket.gethostname()}
    assert not (tmp_path / LOCK_FILE).exists()
    with FolderLock(tmp_path):
        pass


def test_a_second_one_is_refused_and_the_first_goes_on_holding(tmp_path):
    with FolderLock(tmp_path):
        for _ in range(2):
            with pytest.raises(
                InputError, match=rf"process {os.getpid()} on this machine writes this folder. Stop it."
            ):
                FolderLock(tmp_path, "Stop it.").take()
        assert (tmp_path / LOCK_FILE).exists()


def test_the_lock_of_another_process_ends_with_it_however_it_ends(tmp_path):
    with subprocess.Popen([sys.executable, "-c", _HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(InputError, match=f"process {holder.pid} on this machine"):
                FolderLock(tmp_path).take()
        finally:
            holder.send_signal(signal.SIGKILL)
    assert (tmp_path / LOCK_FILE).exists(), "it had no time to remove it"
    with FolderLock(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()


def test_of_another_machine_nothing_is_known(tmp_path):
    (tmp_path / LOCK_FILE).write_text(json.dumps({"pid": 1, "host": "elsewhere.example"}))
    with pytest.raises(InputError, match=r"process 1 on elsewhere.example .* remove .*\.lock"):
        FolderLock(tmp_path).take()
    (tmp_path / LOCK_FILE).unlink()
    with FolderLock(tmp_path):
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"pid": "x"}', b"\xff\xfe"])
def test_a_lock_file_that_names_nobody_is_taken_over(tmp_path, content):
    (tmp_path / LOCK_FILE).write_bytes(content)
    with FolderLock(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()


def test_a_folder_that_is_not_there_is_an_error_of_the_input(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        FolderLock(tmp_path / "missing").take()
