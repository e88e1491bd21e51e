"""Entries of public archives, from their names to checked files: models of the PDB, maps of the EMDB.

A file is downloaded under a name that ends in ``.part``, checked, and only then given its own. An interrupted download
goes on where it stopped. Beside each file, one that ends in ``.sha256`` says what was downloaded (as ``sha256sum -c``
reads it), so that a file that is there and whole is not downloaded again.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from bayesflex import __version__
from bayesflex.errors import InputError
from bayesflex.io.atomic import atomic_path

#: Seconds without an answer after which a server is given up.
TIMEOUT = 30.0

#: How often a download whose connection breaks goes on by itself.
ATTEMPTS = 3

_CHUNK = 1 << 20
_HEAD = 1024  # bytes by which a content is recognised: the header of a map


@dataclass(frozen=True)
class Archive:
    """Where the entries of one archive are, and what they are.

    Parameters
    ----------
    name
        Of the archive.
    accession
        What its entries are called; the group is the part by which an address names one.
    address
        Where an entry is, below the base; ``{id}`` is the group in lower case, ``{ID}`` in upper case.
    file_name
        What the file is called here.
    base
        Address of the archive.
    variable
        Environment variable that names another, such as a mirror.
    content
        What a file holds, for messages.
    is_content
        Tells it from the first 1024 bytes, unpacked.
    """

    name: str
    accession: re.Pattern[str]
    address: str
    file_name: str
    base: str
    variable: str
    content: str
    is_content: Callable[[bytes], bool]


#: Every archive; what is not an entry of the first is looked for in the next.
ARCHIVES = (
    Archive(
        "PDB",
        re.compile(r"(?:pdb_0000)?([1-9][a-z0-9]{3})", re.IGNORECASE),
        "{ID}.cif.gz",
        "{id}.cif.gz",
        "https://files.rcsb.org/download",
        "BAYESFLEX_PDB_URL",
        "an mmCIF file",
        lambda head: head.startswith(b"data_"),
    ),
    Archive(
        "EMDB",
        re.compile(r"emd[-_]?([0-9]{4,5})", re.IGNORECASE),
        "EMD-{id}/map/emd_{id}.map.gz",
        "emd_{id}.map.gz",
        "https://files.wwpdb.org/pub/emdb/structures",
        "BAYESFLEX_EMDB_URL",
        "a map",
        lambda head: head[208:212] == b"MAP ",  # word 53 of the header
    ),
)


@dataclass(frozen=True)
class Entry:
    """One entry of an archive: where it is, and what its file is called."""

    name: str
    archive: Archive
    url: str
    file_name: str


def find_entry(name: str, bases: Mapping[str, str] | None = None) -> Entry:
    """Return the entry that a name means.

    Parameters
    ----------
    name
        An accession, such as "5ftm", "pdb_00005ftm", "emd-3299" or "EMD-3299".
    bases
        Base addresses by the name of the archive, in place of the archives' own and of the environment's.

    Raises
    ------
    InputError
        If no archive has entries of such names.
    """
    for archive in ARCHIVES:
        match = archive.accession.fullmatch(name.strip())
        if match is not None:
            key = {"id": match.group(1).lower(), "ID": match.group(1).upper()}
            base = (bases or {}).get(archive.name) or os.environ.get(archive.variable) or archive.base
            url = f"{base.rstrip('/')}/{archive.address.format(**key)}"
            if not url.startswith(("https://", "http://")):
                raise InputError(
                    f"{name}: expected an address that begins with https://, got {url}; set "
                    f"{archive.variable} to the address of a mirror, or unset it"
                )
            return Entry(name.strip(), archive, url, archive.file_name.format(**key))
    raise InputError(
        f"{name}: expected an entry of the PDB (four characters, such as 5ftm) or of the EMDB (such as emd-3299); "
        "look it up at https://www.rcsb.org or https://www.ebi.ac.uk/emdb"
    )


def fetch(entry: Entry, folder: Path, say: Callable[[str], None]) -> Path:
    """Return the file of an entry, downloaded into a folder unless it is there already.

    Parameters
    ----------
    entry
        See :func:`find_entry`.
    folder
        A folder that is there.
    say
        Told what is done.

    Raises
    ------
    InputError
        If there is no network, no such entry, the content is not what it should be, a file of that name holds
        something else, or the operating system refuses to write.
    """
    path = folder / entry.file_name
    if path.exists():
        _require_whole(path, entry)
        say(f"{entry.name}: {path} is there and whole")
        return path
    partial = path.with_name(path.name + ".part")
    resumed = _size(partial) > 0
    _download(entry, partial, say)
    fault = _fault(partial, entry.archive)
    if fault is not None and resumed:
        # The entry may have been replaced since the first half was downloaded.
        partial.unlink()
        _download(entry, partial, say)
        fault = _fault(partial, entry.archive)
    if fault is not None:
        partial.unlink()
        raise InputError(
            f"{entry.name}: {entry.url} gave {fault}; expected {entry.archive.content}, packed by gzip. Nothing was "
            "kept. Open the address in a browser: a network that asks for a login gives a page instead of the file."
        )
    try:
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}).") from error
    _record(path)
    return path


def _checksum_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _record(path: Path) -> None:
    """Write the checksum of a file beside it, as sha256sum does."""
    with atomic_path(_checksum_file(path)) as temporary:
        temporary.write_text(f"{_sha256(path)}  {path.name}\n", encoding="utf-8")


def _require_whole(path: Path, entry: Entry) -> None:
    """Raise InputError unless a file that is there is what was downloaded; one without a checksum is looked into."""
    remedy = "Remove it, or choose another folder with -o, and repeat the command."
    try:
        recorded = _checksum_file(path).read_text(encoding="utf-8").split()[:1]
    except OSError:
        fault = _fault(path, entry.archive)
        if fault is not None:
            raise InputError(
                f"{path}: expected {entry.archive.content}, packed by gzip, got {fault}. {remedy}"
            ) from None
        _record(path)
        return
    if recorded != [_sha256(path)]:
        raise InputError(
            f"{path}: its content is not what was downloaded (its SHA-256 is not that in {_checksum_file(path).name}). "
            f"{remedy}"
        )


def _fault(path: Path, archive: Archive) -> str | None:
    """Return what is wrong with a downloaded file, in words, or None; it is unpacked to its end, so that CRCs count."""
    try:
        with gzip.open(path) as file:
            head = file.read(_HEAD)
            while file.read(_CHUNK):
                pass
    except EOFError:
        return "a file that ends too early"
    except gzip.BadGzipFile:
        return "a file that gzip cannot unpack"
    except zlib.error:
        return "a damaged file"
    return None if archive.is_content(head) else f"something that is not {archive.content}"


def _download(entry: Entry, partial: Path, say: Callable[[str], None]) -> None:
    """Download an entry to a partial file, from where that ends; a connection that breaks is taken up again."""
    for _ in range(ATTEMPTS):
        try:
            if _receive(entry, partial, say):
                return
        except urllib.error.HTTPError as error:
            with error:
                if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    partial.unlink(missing_ok=True)  # longer than the entry now is
                    continue
                raise _refused(entry, error) from error
        except urllib.error.URLError as error:
            raise _unreachable(entry, error.reason) from error
        except TimeoutError as error:
            raise _unreachable(entry, "no answer in time") from error
        except (http.client.HTTPException, ConnectionError):
            continue
    raise InputError(
        f"{entry.name}: the connection to {entry.url} broke {ATTEMPTS} times. Repeat the command to go on: "
        f"{_size(partial)} bytes are kept in {partial}."
    )


def _receive(entry: Entry, partial: Path, say: Callable[[str], None]) -> bool:
    """Receive what one connection gives, and tell whether the file is complete by the size that the server named."""
    held = _size(partial)
    headers = {"User-Agent": f"bayesflex/{__version__}"}
    if held:
        headers["Range"] = f"bytes={held}-"
    with urllib.request.urlopen(urllib.request.Request(entry.url, headers=headers), timeout=TIMEOUT) as response:
        if held and response.status != HTTPStatus.PARTIAL_CONTENT:
            held = 0  # the server does not resume: it sends all of it
        length = response.headers.get("Content-Length")
        total = None if length is None else held + int(length)
        size = "" if total is None else f"{total / 1e6:.1f} MB "
        say(f"{entry.name}: {f'going on at {held / 1e6:.1f} of' if held else 'downloading'} {size}from {entry.url}")
        _append(partial, held, _chunks(response))
    return total is None or _size(partial) >= total


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield what arrives until the connection ends, well or not: the size tells."""
    while True:
        try:
            chunk = response.read1(_CHUNK)
        except (http.client.HTTPException, OSError):
            return
        if not chunk:
            return
        yield chunk


def _append(partial: Path, held: int, chunks: Iterator[bytes]) -> None:
    """Write chunks after the first ``held`` bytes of a file."""
    try:
        with partial.open("ab") as file:
            file.truncate(held)
            for chunk in chunks:
                file.write(chunk)
    except OSError as error:
        raise InputError(
            f"{partial}: cannot be written ({error.strerror or error}). Free some space or choose another folder "
            "with -o; what was downloaded is kept, and the command goes on from there."
        ) from error


def _refused(entry: Entry, error: urllib.error.HTTPError) -> InputError:
    if error.code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        return InputError(
            f"{entry.name}: the {entry.archive.name} has no such entry, or keeps no file of it ({entry.url} was not "
            f"found). Check the accession; entries of the PDB are written 5ftm, those of the EMDB emd-3299."
        )
    return InputError(
        f"{entry.name}: {entry.url} answered {error.code} {error.reason}. Try again later, or name a mirror by the "
        f"environment variable {entry.archive.variable}."
    )


def _unreachable(entry: Entry, reason: object) -> InputError:
    return InputError(
        f"{entry.name}: {entry.url} cannot be reached ({reason}). Check the network (behind a proxy, set HTTPS_PROXY), "
        f"name a mirror by the environment variable {entry.archive.variable}, or download the file by other means."
    )
