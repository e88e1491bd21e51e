"""Reading and writing density maps: MRC and CCP4 files, plain or gzipped.

The values come as (nz, ny, nx) whatever the order of axes in the file, and go back into that order. The header's
own statistics are not believed. What a header means is in ``io.mrc_header``.

The ``mrcfile`` package supplies the layout of the header, but not the reading: files without identifier, and those
whose axes are permuted, would each need a second path.
"""

from __future__ import annotations

import gzip
import os
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesflex.density_map import DensityMap
from bayesflex.errors import InputError
from bayesflex.io.atomic import atomic_path
from bayesflex.io.mrc_header import (
    HEADER_SIZE,
    MapHeader,
    chimerax_file_type,
    chimerax_origin,
    format_triple,
    new_header,
    parse_header,
    place,
    placed_header,
)
from bayesflex.io.packed import GZIP_MAGIC, most_unpacked, too_much

#: Types of the values by mode. Mode 0 may also be unsigned: see ``MapHeader.has_unsigned_bytes``.
_TYPE_OF_MODE = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_OTHER_MODES = {3: "a Fourier transform of integers", 4: "a Fourier transform", 101: "packed 4-bit integers"}

#: Bytes after the last value that are let pass: padding to a disk block. More contradicts the header.
_PADDING = 4096


def read_map(path: str | Path, *, voxel: float | None = None, origin: str | None = None) -> DensityMap:
    """Read a density map.

    Parameters
    ----------
    path
        MRC or CCP4 file, also gzipped: modes 0, 1, 2, 6, 12, either byte order, any order of axes.
    voxel
        Edge length of a voxel (Å) along each axis, instead of the header's (cell over intervals).
    origin
        Where voxel (0, 0, 0) is put: "origin" or "nstart" for that field of the header, or "x,y,z" in Å. By default
        ORIGIN where one of its components reaches half a voxel or NSTART is all zero, else NSTART.

    Returns
    -------
    DensityMap
        Values as float32. Its notes say what was assumed.

    Raises
    ------
    InputError
        If the file cannot be read, is no map, holds no usable values, has a cell that is not orthogonal or a voxel
        size that is not positive and finite, or ``voxel`` or ``origin`` make no sense.
    """
    path = Path(path)
    header, notes, content, size = _read_content(path)
    voxel_size = _voxel_size(path, header, voxel)
    position, other_origins, placement_notes = _place(path, header, voxel_size, origin)
    values, value_notes, extended = _read_values(path, header, content, size)
    _check_values(path, values)
    return DensityMap(
        values=values,
        voxel_size=voxel_size,
        origin=position,
        name=path.name,
        notes=notes + value_notes + placement_notes,
        header=replace(header, extended=extended),
        other_origins=other_origins,
    )


def write_map(density: DensityMap, path: str | Path) -> None:
    """Write a density map as float32 (mode 2), gzipped where the name ends in .gz.

    A map on the grid of the file it was read from keeps that file's order of axes, byte order, cell, NSTART, ORIGIN,
    labels, space group and extended header; one on a new grid gets a new header. Either way the file lies at
    ``density.origin`` in ChimeraX's reading of the header: an ORIGIN of rounding errors that would win there over
    NSTART is set to zero.

    Parameters
    ----------
    density
        The map.
    path
        Where to write.

    Raises
    ------
    InputError
        If the file cannot be written, or cannot hold the map's origin (see ``io.mrc_header.placed_header``).
    """
    path = Path(path)
    header = density.header
    if not (isinstance(header, MapHeader) and header.shape_xyz == density.shape_xyz):
        header = new_header(density.shape_xyz)
    header = placed_header(header, density.voxel_size, density.origin, path.name)
    values = density.values.astype(header.byte_order + "f4")
    fields = header.fields
    fields["dmin"], fields["dmax"] = values.min(), values.max()
    fields["dmean"], fields["rms"] = values.mean(dtype=np.float64), values.std(dtype=np.float64)
    stored = values.transpose(_storage_axes(header))  # sections, rows, columns
    content = fields.tobytes() + header.extended + stored.tobytes()
    with atomic_path(path) as temporary:
        # A fixed time stamp: the same map gives the same bytes.
        temporary.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def describe_map(density: DensityMap) -> list[tuple[str, str]]:
    """Return what there is to say about a map, as rows of label and value."""
    values = density.values
    nx, ny, nz = density.shape_xyz
    mean, sd = values.mean(dtype=np.float64), values.std(dtype=np.float64)
    rows = [
        ("map", density.name),
        ("grid (x, y, z)", f"{nx} × {ny} × {nz} voxels"),
        ("voxel size", f"{format_triple(density.voxel_size)} Å"),
        ("box", f"{format_triple(density.box_size)} Å"),
        ("origin", f"{format_triple(density.origin)} Å"),
        ("end", f"{format_triple(density.origin + density.box_size - density.voxel_size)} Å"),
        ("values", f"{values.min():.4g} to {values.max():.4g}, mean {mean:.4g}, SD {sd:.4g}"),
    ]
    header = density.header
    if isinstance(header, MapHeader):
        rows += [
            ("mode", f"{header.mode} ({_value_type(header).name})"),
            ("axes of columns, rows, sections", ", ".join("xyz"[axis] for axis in header.axes)),
            ("NSTART (x, y, z)", format_triple(header.start)),
            ("ORIGIN (x, y, z)", f"{format_triple(header.origin)} Å"),
            ("space group", str(int(header.fields["ispg"]))),
            *(("label", label) for label in header.labels),
        ]
    return rows + [("note", note) for note in density.notes]


def _read_content(path: Path) -> tuple[MapHeader, tuple[str, ...], bytes, int]:
    """Return the header, notes on it, what follows it, and the size of the (unpacked) file in bytes.

    No more is read, and no more memory taken, than the header asks for, and nothing where the file cannot hold that.
    """
    if path.is_dir():
        raise InputError(f"{path}: expected a map (MRC or CCP4 file), got a folder. Give the file in it.")
    try:
        with path.open("rb") as raw:
            size = os.fstat(raw.fileno()).st_size
            is_packed = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            raw.seek(0)
            if is_packed:
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    return _read_packed(path, unpacked, size)
            header, notes = _read_header(path, raw.read(HEADER_SIZE), size)
            _require_size(path, header, size)
            return header, notes, raw.read(max(size - HEADER_SIZE, 0)), size
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. Expected a map (MRC or CCP4); check the name.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path}: expected a gzipped map, but it cannot be unpacked ({error}). It may be cut short: fetch it again."
        ) from error
    except (OSError, ValueError) as error:  # a name may hold what no file system takes
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason}). Check its permissions.") from error


def _read_packed(path: Path, file: gzip.GzipFile, packed_size: int) -> tuple[MapHeader, tuple[str, ...], bytes, int]:
    """Return what :func:`_read_content` does, of a gzipped map."""
    head = file.read(HEADER_SIZE)
    header, notes = _read_header(path, head, len(head))
    longest = _longest(header)
    if longest > most_unpacked(packed_size):
        raise too_much(path, packed_size)
    # One byte more than there may be tells that there are more.
    content = file.read(longest - HEADER_SIZE + 1)
    size = HEADER_SIZE + len(content)
    _require_size(path, header, size)
    return header, notes, content, size


def _longest(header: MapHeader) -> int:
    """Return the size of the longest file that a header allows, bytes."""
    return HEADER_SIZE + max(header.n_extended, 0) + _n_bytes(header) + _PADDING


def _n_bytes(header: MapHeader) -> int:
    columns, rows, sections = header.size
    return columns * rows * sections * _value_type(header).itemsize


def _has_extended(header: MapHeader, size: int) -> bool:
    """Tell whether a file of a size holds the extended header that is announced: those of EMD-1042's time may not."""
    return HEADER_SIZE + _n_bytes(header) != size


def _require_size(path: Path, header: MapHeader, size: int) -> None:
    """Check that a file has the size, in bytes, that its header announces."""
    n_bytes = _n_bytes(header)
    n_extended = header.n_extended if _has_extended(header, size) else 0
    excess = size - HEADER_SIZE - n_extended - n_bytes
    if n_extended < 0 or excess < 0 or excess > _PADDING:
        columns, rows, sections = header.size
        raise InputError(
            f"{path}: expected {HEADER_SIZE + n_extended + n_bytes} bytes for {columns} × {rows} × {sections} values "
            f"of mode {header.mode} with {n_extended} bytes of extended header, got {size}. "
            "The file is cut short or is not a map: fetch or compute it again."
        )


def _read_header(path: Path, content: bytes, size: int) -> tuple[MapHeader, tuple[str, ...]]:
    """Return the header and notes on it, of a file of a size whose first bytes can be the header of a map."""
    if not content:
        raise InputError(f"{path}: expected a map (MRC or CCP4), got an empty file. Fetch or compute it again.")
    if len(content) < HEADER_SIZE:
        raise InputError(
            f"{path}: not a map: expected a header of {HEADER_SIZE} bytes, got a file of {size}. "
            "Give an MRC or CCP4 file."
        )
    header, notes = parse_header(content[:HEADER_SIZE], chimerax_file_type(path.name))
    if header is None:
        raise InputError(
            f"{path}: not a map: expected the header of an MRC or CCP4 file, got one that begins with "
            f"{content[:16]!r}, which is no grid size in either byte order. Give a map as the second argument."
        )
    if min(header.size) == 0:
        raise InputError(f"{path}: empty map: its grid has {header.size} voxels along columns, rows, sections.")
    if header.mode not in _TYPE_OF_MODE:
        meaning = f" ({_OTHER_MODES[header.mode]})" if header.mode in _OTHER_MODES else ""
        raise InputError(
            f"{path}: expected map values of mode 0, 1, 2, 6 or 12, got mode {header.mode}{meaning}. "
            "Convert the map to mode 2 (32-bit reals) with the program that wrote it, or check that it is a map."
        )
    if not header.is_orthogonal:
        raise InputError(
            f"{path}: expected orthogonal axes, got cell angles {format_triple(header.angles)} degrees. "
            "Resample the map onto an orthogonal grid first (in ChimeraX: volume resample)."
        )
    return header, notes


def _voxel_size(path: Path, header: MapHeader, voxel: float | None) -> NDArray[np.float64]:
    if voxel is not None:
        if not (np.isfinite(voxel) and voxel > 0):
            raise InputError(f"{path}: expected a positive, finite voxel size in Å from --voxel, got {voxel}.")
        return np.full(3, float(voxel))
    voxel_size = header.voxel_size
    if not (np.all(np.isfinite(voxel_size)) and np.all(voxel_size > 0)):
        raise InputError(
            f"{path}: expected a positive, finite voxel size, got cell {format_triple(header.cell)} Å over "
            f"{format_triple(header.intervals)} intervals in the header. Give the voxel size in Å with --voxel."
        )
    return voxel_size


def _place(
    path: Path, header: MapHeader, voxel_size: NDArray[np.float64], origin: str | None
) -> tuple[NDArray[np.float64], tuple[tuple[str, tuple[float, float, float]], ...], tuple[str, ...]]:
    """Return the origin, the places not chosen, and notes."""
    choice = origin.strip().lower() if origin is not None else None
    if choice in (None, "origin", "nstart"):
        placement = place(header, voxel_size, choice)
        position, others, notes = placement.origin, placement.other_origins, placement.notes
    else:
        position, others = _parse_origin(path, choice), ()
        notes = (f"placed at {format_triple(position)} Å as asked",)
    shown = chimerax_origin(header, voxel_size, header.file_type)
    if np.any(np.abs(shown - position) >= 0.5 * voxel_size):
        notes += (
            f"ChimeraX shows this file at {format_triple(shown)} Å instead; what bayesflex writes overlays the model",
        )
    return position, others, notes


def _parse_origin(path: Path, text: str) -> NDArray[np.float64]:
    try:
        position = np.array([float(part) for part in text.split(",")])
    except ValueError:
        position = np.empty(0)
    if position.shape != (3,) or not np.all(np.isfinite(position)):
        raise InputError(f"{path}: expected --origin to be 'origin', 'nstart' or 'x,y,z' in Å, got {text!r}.")
    return position


def _value_type(header: MapHeader) -> np.dtype[Any]:
    code = "u1" if header.mode == 0 and header.has_unsigned_bytes else _TYPE_OF_MODE[header.mode]
    return np.dtype(code).newbyteorder(header.byte_order)


def _read_values(
    path: Path, header: MapHeader, content: bytes, size: int
) -> tuple[NDArray[np.float32], tuple[str, ...], bytes]:
    """Return values (nz, ny, nx), notes, and the extended header, of what follows the header in a file of a size."""
    value_type = _value_type(header)
    columns, rows, sections = header.size
    n_bytes = _n_bytes(header)
    n_extended = header.n_extended
    notes: tuple[str, ...] = ()
    if n_extended and not _has_extended(header, size):
        notes += (f"the extended header of {n_extended} bytes that the header announces is missing",)
        n_extended = 0
    excess = size - HEADER_SIZE - n_extended - n_bytes
    if len(content) < n_extended + n_bytes:
        raise InputError(f"{path}: became shorter while it was read. Is another program writing it?")
    if excess:
        notes += (f"{excess} bytes after the last value are ignored",)
    if header.mode == 0:
        notes += (f"mode 0 read as {'unsigned' if header.has_unsigned_bytes else 'signed'} bytes",)
    stored = np.frombuffer(content, value_type, n_bytes // value_type.itemsize, n_extended).reshape(
        sections, rows, columns
    )
    values = np.ascontiguousarray(stored.transpose(np.argsort(_storage_axes(header))), dtype=np.float32)
    return values, notes, content[:n_extended]


def _storage_axes(header: MapHeader) -> tuple[int, int, int]:
    """Return the axes of (nz, ny, nx) that lie along sections, rows and columns."""
    column, row, section = header.axes
    return 2 - section, 2 - row, 2 - column


def _check_values(path: Path, values: NDArray[np.float32]) -> None:
    bad = ~np.isfinite(values)
    n_bad = int(np.count_nonzero(bad))
    if n_bad:
        z, y, x = np.unravel_index(int(np.argmax(bad)), bad.shape)
        raise InputError(
            f"{path}: expected finite values, got {n_bad} of {values.size} that are NaN or infinite, the first at "
            f"voxel (x, y, z) = ({x}, {y}, {z}). Repair the map in the program that wrote it."
        )
    if values.min() == values.max():
        raise InputError(
            f"{path}: expected a map with some contrast, got a constant one: all {values.size} values are "
            f"{values.flat[0]:g}. Check how it was made."
        )
