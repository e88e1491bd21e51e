"""Downloads from a server on this machine: whole, cut short, taken up again, wrong, and with nobody there."""

from __future__ import annotations

import gzip
import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from bayesflex.errors import InputError
from bayesflex.io.accessions import ARCHIVES, ATTEMPTS, find_entry
from bayesflex.io.maps import read_map
from bayesflex.workflows.get import get_entries

MODEL = gzip.compress(b"data_5FTM\n#\n_entry.id 5FTM\n" + b"# filler\n" * 500)


def map_bytes() -> bytes:
    header = np.zeros(256, dtype="<i4")
    header[:4] = 4, 4, 4, 2  # size and mode
    header[7:10] = 4
    header[16:19] = 1, 2, 3
    header.view("<f4")[10:16] = 8.0, 8.0, 8.0, 90.0, 90.0, 90.0
    header[52] = int.from_bytes(b"MAP ", "little")
    header[53] = 0x4444
    return gzip.compress(header.tobytes() + np.arange(64, dtype="<f4").tobytes())


MAP = map_bytes()


@dataclass
class Server:
    """What a server holds, how much of it each connection gives, and what it was asked."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)  # bytes given by the next connections, before they break
    resumes: bool = True
    status: int = 200
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    @property
    def bases(self) -> dict[str, str]:
        return {"PDB": f"{self.address}/pdb", "EMDB": f"{self.address}/emdb"}


@pytest.fixture
def server() -> Iterator[Server]:
    held = Server(files={"/pdb/5FTM.cif.gz": MODEL, "/emdb/EMD-3299/map/emd_3299.map.gz": MAP})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            span = self.headers.get("Range")
            held.asked.append((self.path, span))
            content = held.files.get(self.path)
            if content is None or held.status != 200:
                self.send_error(404 if held.status == 200 else held.status)
                return
            first = int(re.fullmatch(r"bytes=(\d+)-", span).group(1)) if span and held.resumes else 0
            if first and first >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(len(content) - first))
            self.end_headers()
            end = first + held.cuts.pop(0) if held.cuts else len(content)
            self.wfile.write(content[first:end])

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        held.address = f"http://127.0.0.1:{listening.server_address[1]}"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield held
        listening.shutdown()
        thread.join()


def get(server: Server, folder: Path, *names: str) -> list[Path]:
    return get_entries(names, folder, lambda text: None, server.bases)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("5ftm", "https://files.rcsb.org/download/5FTM.cif.gz"),
        ("5FTM", "https://files.rcsb.org/download/5FTM.cif.gz"),
        ("pdb_00005ftm", "https://files.rcsb.org/download/5FTM.cif.gz"),
        ("emd-3299", "https://files.wwpdb.org/pub/emdb/structures/EMD-3299/map/emd_3299.map.gz"),
        ("EMD_12345", "https://files.wwpdb.org/pub/emdb/structures/EMD-12345/map/emd_12345.map.gz"),
    ],
)
def test_a_name_gives_the_archives_address(name, url, monkeypatch):
    for archive in ARCHIVES:
        monkeypatch.delenv(archive.variable, raising=False)
    assert find_entry(name).url == url


@pytest.mark.parametrize("name", ["", "x5ftm", "5ft", "emd-", "emd-123", "../5ftm", "5ft/", "model.pdb"])
def test_a_name_that_is_no_accession_is_refused(name):
    with pytest.raises(InputError, match="expected an entry of the PDB"):
        find_entry(name)


def test_a_mirror_is_taken_from_the_environment(monkeypatch):
    monkeypatch.setenv("BAYESFLEX_PDB_URL", "https://mirror.example/pdb/")
    assert find_entry("5ftm").url == "https://mirror.example/pdb/5FTM.cif.gz"
    monkeypatch.setenv("BAYESFLEX_PDB_URL", "file:///etc")
    with pytest.raises(InputError, match="BAYESFLEX_PDB_URL"):
        find_entry("5ftm")


def test_entries_are_downloaded_with_their_checksums(server, tmp_path):
    model, density = get(server, tmp_path / "new", "5ftm", "emd-3299")
    assert model.read_bytes() == MODEL
    assert density.read_bytes() == MAP
    assert read_map(density).values.shape == (4, 4, 4)
    recorded = Path(f"{model}.sha256").read_text()
    assert recorded == f"{hashlib.sha256(MODEL).hexdigest()}  5ftm.cif.gz\n"
    assert len(list((tmp_path / "new").iterdir())) == 4


def test_what_is_there_and_whole_is_not_downloaded_again(server, tmp_path):
    first = get(server, tmp_path, "5ftm", "emd-3299")
    server.asked.clear()
    assert get(server, tmp_path, "5ftm", "emd-3299") == first
    assert server.asked == []


def test_a_file_from_elsewhere_is_checked_and_kept(server, tmp_path):
    (tmp_path / "5ftm.cif.gz").write_bytes(MODEL)
    get(server, tmp_path, "5ftm")
    assert server.asked == []
    assert (tmp_path / "5ftm.cif.gz.sha256").exists()


@pytest.mark.parametrize("content", [MODEL[:-20], b"my notes", gzip.compress(b"my notes"), b""])
def test_another_file_of_that_name_is_never_replaced(server, tmp_path, content):
    path = tmp_path / "5ftm.cif.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"5ftm\.cif\.gz.*Remove it"):
        get(server, tmp_path, "5ftm")
    assert path.read_bytes() == content
    assert server.asked == []


def test_a_change_since_the_download_is_noticed(server, tmp_path):
    (path,) = get(server, tmp_path, "5ftm")
    path.write_bytes(gzip.compress(b"data_5FTM\n# other\n"))
    with pytest.raises(InputError, match="SHA-256"):
        get(server, tmp_path, "5ftm")


def test_a_connection_that_breaks_is_taken_up_where_it_broke(server, tmp_path):
    server.cuts = [30, 20]
    (path,) = get(server, tmp_path, "5ftm")
    assert path.read_bytes() == MODEL
    assert [span for _, span in server.asked] == [None, "bytes=30-", "bytes=50-"]


def test_an_interrupted_download_goes_on_at_the_next_call(server, tmp_path):
    server.cuts = [10] * ATTEMPTS
    with pytest.raises(InputError, match=r"broke 3 times\. Repeat the command.*30 bytes are kept"):
        get(server, tmp_path, "5ftm")
    assert not (tmp_path / "5ftm.cif.gz").exists()
    assert (tmp_path / "5ftm.cif.gz.part").stat().st_size == 30
    (path,) = get(server, tmp_path, "5ftm")
    assert path.read_bytes() == MODEL
    assert server.asked[-1][1] == "bytes=30-"
    assert not (tmp_path / "5ftm.cif.gz.part").exists()


def test_a_server_that_does_not_resume_sends_all_again(server, tmp_path):
    server.resumes, server.cuts = False, [30]
    (path,) = get(server, tmp_path, "5ftm")
    assert path.read_bytes() == MODEL


@pytest.mark.parametrize("stale", [b"x" * 40, MODEL + b"more", MODEL[:50][::-1]])
def test_the_rest_of_an_entry_that_changed_is_not_joined_to_the_old_half(server, tmp_path, stale):
    (tmp_path / "5ftm.cif.gz.part").write_bytes(stale)
    (path,) = get(server, tmp_path, "5ftm")
    assert path.read_bytes() == MODEL


def test_a_missing_entry_is_named_with_its_address(server, tmp_path):
    with pytest.raises(InputError, match=r"1abc: the PDB has no such entry.*/pdb/1ABC\.cif\.gz was not found"):
        get(server, tmp_path, "1abc")
    assert list(tmp_path.iterdir()) == []


def test_a_server_in_trouble_is_quoted(server, tmp_path):
    server.status = 503
    with pytest.raises(InputError, match=r"answered 503.*BAYESFLEX_EMDB_URL"):
        get(server, tmp_path, "emd-3299")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"<html>Please log in</html>", "gzip cannot unpack"),
        (gzip.compress(b"<html>Please log in</html>"), "not an mmCIF file"),
        (MODEL[:-12], "ends too early"),
        (MODEL[:60] + bytes([MODEL[60] ^ 0xFF]) + MODEL[61:], r"damaged|unpack|too early"),
        (b"", "not an mmCIF file"),
    ],
    ids=["page", "packed page", "truncated", "damaged", "empty"],
)
def test_wrong_content_is_not_kept(server, tmp_path, content, fault):
    server.files["/pdb/5FTM.cif.gz"] = content
    with pytest.raises(InputError, match=rf"5ftm: http.*({fault}).*Nothing was kept"):
        get(server, tmp_path, "5ftm")
    assert list(tmp_path.iterdir()) == []


def test_no_network_names_entry_address_and_remedy(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    bases = {"EMDB": f"http://127.0.0.1:{port}"}
    with pytest.raises(InputError, match=rf"emd-3299: http://127.0.0.1:{port}/EMD-3299/.*cannot be reached.*network"):
        get_entries(["emd-3299"], tmp_path, lambda text: None, bases)
    assert list(tmp_path.iterdir()) == []


def test_every_name_is_looked_at_before_the_first_download(server, tmp_path):
    with pytest.raises(InputError, match="nonsense"):
        get(server, tmp_path / "out", "5ftm", "nonsense")
    assert server.asked == []
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_said(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        get(server, tmp_path / "file" / "sub", "5ftm")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_said(server, tmp_path):
    (tmp_path / "5ftm.cif.gz.part").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"5ftm\.cif\.gz\.part: cannot be written.*go"):
        get(server, tmp_path, "5ftm")


@pytest.mark.parametrize("environment", [False, True], ids=["nothing there", "served"])
def test_the_command(server, tmp_path, monkeypatch, environment):
    from typer.testing import CliRunner

    from bayesflex.cli import app

    monkeypatch.setenv("BAYESFLEX_PDB_URL", server.bases["PDB"])
    name = "5ftm" if environment else "1abc"
    outcome = CliRunner().invoke(app, ["get", name, "-o", str(tmp_path)], prog_name="bayesflex")
    assert outcome.exit_code == (0 if environment else 2)
    if environment:
        assert outcome.stdout == f"{tmp_path / '5ftm.cif.gz'}\n"
    else:
        assert outcome.stderr.count("\n") == 1
        assert outcome.stderr.startswith("Error: 1abc: the PDB has no such entry")
