"""Reading gzipped files without believing that what comes out is small.

A gzipped file can hold a thousand times its own size. What is unpacked is bounded by the size of the file, so that a
file made to fill the memory is refused and any real one is read.
"""

from __future__ import annotations

import gzip
import io
from pathlib import Path

from bayesflex.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"

#: So much may come out of any file, bytes; and of a larger one so many times its size. Masked maps, mostly zeros, reach
#: a hundred; the format's own limit is 1032.
_ALWAYS, _RATIO = 2**28, 300

#: Bytes that are unpacked at a time.
_PART = 2**20


def most_unpacked(packed_size: int) -> int:
    """Return how many bytes may come out of a gzipped file of a size, bytes."""
    return max(_ALWAYS, _RATIO * packed_size)


def too_much(path: Path, packed_size: int) -> InputError:
    """Return the error for a file out of which more comes."""
    return InputError(
        f"{path}: {packed_size} gzipped bytes unpack to more than {most_unpacked(packed_size)}, which no model or map "
        "does. If the file is what it should be, unpack it first and give the result."
    )


def unpacked(path: Path, data: bytes) -> bytes:
    """Return what gzipped data hold.

    Raises
    ------
    InputError
        If that is more than any real file holds.
    OSError, EOFError, zlib.error
        If the data are damaged or cut short.
    """
    limit = most_unpacked(len(data))
    parts, total = [], 0
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        while part := file.read(_PART):
            parts.append(part)
            total += len(part)
            if total > limit:
                raise too_much(path, len(data))
    return b"".join(parts)
