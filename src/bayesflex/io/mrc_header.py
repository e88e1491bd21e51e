"""The header of an MRC/CCP4 map: byte order, axes, voxel size, and the place that it gives the map.

The header says where a map lies in two ways, ORIGIN (Å) and NSTART (voxels), and programs differ in which they
follow. :func:`place` is bayesflex's rule; :func:`chimerax_origin` is ChimeraX's, by which written maps are checked.
Values are read and written in ``io.maps``.

Layout: Cheng et al. 2015, J. Struct. Biol. 192, 146 (MRC2014), taken from ``mrcfile.dtypes``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from numpy.typing import NDArray

from bayesflex.errors import InputError

HEADER_SIZE = 1024

#: Both ways of saying "little-endian" in the first bytes of the machine stamp, and the one for "big-endian".
_BYTE_ORDER_OF_STAMP: dict[bytes, Literal["<", ">"]] = {b"\x44\x44": "<", b"\x44\x41": "<", b"\x11\x11": ">"}
_STAMP_OF_BYTE_ORDER = {"<": b"\x44\x44\x00\x00", ">": b"\x11\x11\x00\x00"}

#: The largest edge that is taken for a grid size; a byte-swapped size is at least 65536. ChimeraX's limit.
_LARGEST_EDGE = 65535

#: NSTART beyond this many box edges is taken for an uninitialised field. ChimeraX's limit.
_NSTART_LIMIT = 10

#: An angle nearer to 90 than this (degrees) counts as 90: over a box of 500 voxels it displaces by a tenth of one.
_ANGLE_TOLERANCE = 0.01

#: The word that IMOD writes where flags follow; with its lowest flag unset, bytes of mode 0 are unsigned.
_IMOD_STAMP = 1146047817
_IMOD_STAMP_OFFSET = 152


@dataclass(frozen=True)
class MapHeader:
    """The header of one file.

    Parameters
    ----------
    raw
        The 1024 bytes as in the file.
    byte_order
        "<" or ">".
    extended
        Symmetry records or acquisition metadata that follow the header.
    file_type
        How ChimeraX takes the file, by its suffix (see :func:`chimerax_file_type`).
    """

    raw: bytes
    byte_order: Literal["<", ">"]
    extended: bytes = b""
    file_type: str = "mrc"

    @property
    def fields(self) -> NDArray[np.void]:
        """The header as a structured array of shape (), a copy: ``mrcfile.dtypes.HEADER_DTYPE``."""
        return np.frombuffer(self.raw, dtype=HEADER_DTYPE.newbyteorder(self.byte_order)).reshape(()).copy()

    @property
    def size(self) -> tuple[int, int, int]:
        """Numbers of columns, rows and sections."""
        fields = self.fields
        return int(fields["nx"]), int(fields["ny"]), int(fields["nz"])

    @property
    def mode(self) -> int:
        """Code of the type of the values."""
        return int(self.fields["mode"])

    @property
    def n_extended(self) -> int:
        """Bytes of extended header that the header announces."""
        return int(self.fields["nsymbt"])

    @property
    def has_map_id(self) -> bool:
        """True for the format of 2000 and later, which has an ORIGIN."""
        return bytes(self.fields["map"])[:3] == b"MAP"

    @property
    def has_unsigned_bytes(self) -> bool:
        """True where mode 0 means 0 to 255: where IMOD says so, and before the year 2000."""
        stamp, flags = np.frombuffer(self.raw, self.byte_order + "i4", 2, _IMOD_STAMP_OFFSET)
        return not flags & 1 if stamp == _IMOD_STAMP else not self.has_map_id

    @property
    def has_axes(self) -> bool:
        """True where MAPC, MAPR, MAPS name each of x, y, z once."""
        return sorted(_axes_field(self.fields)) == [1, 2, 3]

    @property
    def axes(self) -> tuple[int, int, int]:
        """Axis (0 x, 1 y, 2 z) along columns, rows, sections; x, y, z where the header names none, as in ChimeraX."""
        column, row, section = _axes_field(self.fields) if self.has_axes else (1, 2, 3)
        return column - 1, row - 1, section - 1

    @property
    def shape_xyz(self) -> tuple[int, int, int]:
        """Number of voxels along (x, y, z)."""
        nx, ny, nz = (self.size[self.axes.index(axis)] for axis in range(3))
        return nx, ny, nz

    @property
    def intervals(self) -> NDArray[np.int64]:
        """Numbers of intervals (mx, my, mz) in the cell, which may hold more voxels than the file."""
        fields = self.fields
        return np.array([fields["mx"], fields["my"], fields["mz"]], dtype=np.int64)

    @property
    def cell(self) -> NDArray[np.float64]:
        """Edge lengths of the cell along (x, y, z), Å."""
        return np.array([self.fields["cella"][axis] for axis in "xyz"], dtype=np.float64)

    @property
    def voxel_size(self) -> NDArray[np.float64]:
        """Cell over intervals along (x, y, z), Å, shape (3,); NaN where the intervals are not positive."""
        intervals = self.intervals
        return np.where(intervals > 0, self.cell / np.maximum(intervals, 1), np.nan)

    @property
    def angles(self) -> NDArray[np.float64]:
        """Angles of the cell (alpha, beta, gamma), degrees; 90 where the header has 0, as some programs write."""
        angles = np.array([self.fields["cellb"][name] for name in ("alpha", "beta", "gamma")], dtype=np.float64)
        return np.where(angles == 0.0, 90.0, angles)

    @property
    def is_orthogonal(self) -> bool:
        """True where all angles are 90 degrees."""
        return bool(np.all(np.abs(self.angles - 90.0) <= _ANGLE_TOLERANCE))

    @property
    def origin(self) -> NDArray[np.float64]:
        """The field ORIGIN (x, y, z), Å."""
        return np.array([self.fields["origin"][axis] for axis in "xyz"], dtype=np.float64)

    @property
    def start(self) -> NDArray[np.int64]:
        """The field NSTART, put into the order (x, y, z): in the header it belongs to columns, rows, sections."""
        fields = self.fields
        start = np.array([fields["nxstart"], fields["nystart"], fields["nzstart"]], dtype=np.int64)
        return start[[self.axes.index(axis) for axis in range(3)]]

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels with text in them; bytes that are not ASCII are shown escaped."""
        texts = (bytes(label).decode("ascii", "backslashreplace").strip("\0 ") for label in self.fields["label"])
        return tuple(text for text in texts if text)


@dataclass(frozen=True)
class Placement:
    """Where a header puts voxel (0, 0, 0).

    Parameters
    ----------
    name
        "origin" or "nstart", the field that was followed.
    origin
        Position along (x, y, z), Å, shape (3,).
    other_origins
        The field that was not followed and its position, where that is another one.
    notes
        Why, where there was a choice.
    """

    name: str
    origin: NDArray[np.float64]
    other_origins: tuple[tuple[str, tuple[float, float, float]], ...]
    notes: tuple[str, ...]


def parse_header(raw: bytes, file_type: str) -> tuple[MapHeader | None, tuple[str, ...]]:
    """Find the byte order of a header.

    The machine stamp is believed where the grid size is plausible in its order, else the size decides.

    Parameters
    ----------
    raw
        The first 1024 bytes of a file.
    file_type
        See :func:`chimerax_file_type`.

    Returns
    -------
    MapHeader or None
        None where the size is plausible in neither byte order: not a map.
    notes
        What was assumed.
    """
    stamp = raw[212:216]
    stamped = _BYTE_ORDER_OF_STAMP.get(stamp[:2])
    orders: tuple[Literal["<", ">"], ...] = (">", "<") if stamped == ">" else ("<", ">")
    for order in orders:
        header = MapHeader(raw, order, file_type=file_type)
        if all(0 <= edge <= _LARGEST_EDGE for edge in header.size):
            break
    else:
        return None, ()
    endian = {"<": "little-endian", ">": "big-endian"}[header.byte_order]
    notes = []
    if stamped is None:
        notes.append(f"no valid machine stamp ({stamp.hex(' ')}); read as {endian}, in which the grid size makes sense")
    elif stamped != header.byte_order:
        notes.append(f"the machine stamp contradicts the grid size; read as {endian}, in which the size makes sense")
    if not header.has_map_id:
        notes.append("no 'MAP ' identifier (format before 2000)")
    if not header.has_axes:
        notes.append(f"MAPC, MAPR, MAPS {_axes_field(header.fields)} name no axes; taken as 1, 2, 3")
    return header, tuple(notes)


def place(header: MapHeader, voxel_size: NDArray[np.float64], choice: str | None = None) -> Placement:
    """Decide where the header puts voxel (0, 0, 0). ORIGIN and NSTART are never added.

    ORIGIN counts as set where a component reaches half a voxel, or where NSTART is all zero; else NSTART times the
    voxel size holds. Fields that were left uninitialised (not finite, or huge) count as zero.

    Parameters
    ----------
    header
        The header.
    voxel_size
        Along (x, y, z), Å, shape (3,).
    choice
        "origin" or "nstart" to follow that field whatever the rule says.
    """
    notes = []
    field_origin, start = header.origin, header.start
    if not _is_origin_initialised(field_origin, voxel_size):
        notes.append(f"ORIGIN {format_triple(field_origin)} makes no sense and counts as zero")
        field_origin = np.zeros(3)
    if not _is_start_initialised(header):
        notes.append(f"NSTART {format_triple(start)} makes no sense and counts as zero")
        start = np.zeros(3, dtype=np.int64)
    candidates = {"origin": field_origin, "nstart": start * voxel_size}
    is_origin_set = bool(np.any(np.abs(field_origin) >= 0.5 * voxel_size)) or not np.any(start)
    name = choice or ("origin" if is_origin_set else "nstart")
    other = "nstart" if name == "origin" else "origin"
    differ = bool(np.any(np.abs(candidates["origin"] - candidates["nstart"]) >= 0.5 * voxel_size))
    if differ and np.any(field_origin) and np.any(start):
        notes.append(
            f"placed by {name.upper()} at {format_triple(candidates[name])} Å; "
            f"{other.upper()} would put it at {format_triple(candidates[other])} Å (--origin {other})"
        )
    x, y, z = (float(value) for value in candidates[other])
    return Placement(name, candidates[name], ((other, (x, y, z)),) if differ else (), tuple(notes))


def chimerax_file_type(file_name: str) -> str:
    """Return how ChimeraX takes a file by its suffix: "ccp4" for .ccp4 and .map, else "mrc"."""
    return "ccp4" if file_name.lower().removesuffix(".gz").endswith((".ccp4", ".map")) else "mrc"


def chimerax_origin(header: MapHeader, voxel_size: NDArray[np.float64], file_type: str) -> NDArray[np.float64]:
    """Return where ChimeraX puts voxel (0, 0, 0), along (x, y, z), Å, shape (3,).

    In a file of type "mrc" with the identifier, an ORIGIN that is not exactly zero wins; else, and always in type
    "ccp4", NSTART times the voxel size (``map_data/src/mrc/mrc_format.py`` of ChimeraX 1.9).
    """
    origin = header.origin
    if file_type == "mrc" and header.has_map_id and np.any(origin) and _is_origin_initialised(origin, voxel_size):
        return origin
    return header.start * voxel_size if _is_start_initialised(header) else np.zeros(3)


def new_header(shape_xyz: tuple[int, int, int]) -> MapHeader:
    """Return the header of a file that starts here: axes x, y, z, the cell is the box, no placement yet."""
    fields = np.zeros((), dtype=HEADER_DTYPE.newbyteorder("<"))
    for axis, n_voxels in zip("xyz", shape_xyz, strict=True):
        fields["n" + axis] = fields["m" + axis] = n_voxels
    for name in ("alpha", "beta", "gamma"):
        fields["cellb"][name] = 90.0
    fields["mapc"], fields["mapr"], fields["maps"] = 1, 2, 3
    fields["ispg"] = 1  # a volume without symmetry
    fields["nversion"] = 20141  # MRC2014, as amended
    fields["nlabl"] = 1
    fields["label"][0] = b"Written by bayesflex"
    return MapHeader(fields.tobytes(), "<")


def placed_header(
    header: MapHeader, voxel_size: NDArray[np.float64], origin: NDArray[np.float64], name: str
) -> MapHeader:
    """Return the header with which the map of float32 values lies at ``origin``, here and in ChimeraX.

    Fields are kept as they are where they say so already.

    Parameters
    ----------
    header
        Header of the file that was read, or :func:`new_header`.
    voxel_size, origin
        Along (x, y, z), Å, shape (3,).
    name
        Name of the file to write, whose suffix decides how ChimeraX reads it.

    Raises
    ------
    InputError
        If the suffix is .ccp4 or .map, where ChimeraX honours NSTART only, and the origin is not a whole number of
        voxels.
    """
    file_type = chimerax_file_type(name)
    base = _with_float_values(header, voxel_size)
    start = np.rint(origin / voxel_size).astype(np.int64)
    candidates = (
        base,
        _with_place(base, base.start, np.zeros(3)),
        _with_place(base, np.zeros(3, dtype=np.int64), origin),
        _with_place(base, start, np.zeros(3)),
    )

    def is_here(position: NDArray[np.float64]) -> bool:
        # A thousandth of a voxel, beyond the rounding of the header's float32 fields.
        return bool(np.all(np.abs(position - origin) <= 1e-3 * voxel_size + 1e-6 * np.abs(origin)))

    for candidate in candidates:
        if is_here(place(candidate, voxel_size).origin) and is_here(chimerax_origin(candidate, voxel_size, file_type)):
            return candidate
    if header.file_type == file_type and is_here(place(base, voxel_size).origin):
        # ChimeraX ignores the ORIGIN of such a file, in the one that was read as in this one: the two overlay.
        return base
    raise InputError(
        f"{name}: a file of this suffix can only start at a whole number of voxels (ChimeraX ignores its ORIGIN), "
        f"and this map starts at {format_triple(origin / voxel_size)} voxels. Give the file the suffix .mrc."
    )


def format_triple(values: NDArray[np.generic]) -> str:
    """Return three numbers as text, such as "(1.5, 0, -20)"."""
    return "(" + ", ".join(f"{value:.6g}" for value in values.tolist()) + ")"


def _axes_field(fields: NDArray[np.void]) -> tuple[int, int, int]:
    return int(fields["mapc"]), int(fields["mapr"]), int(fields["maps"])


def _is_origin_initialised(origin: NDArray[np.float64], voxel_size: NDArray[np.float64]) -> bool:
    # An origin so large that float32 cannot tell neighbouring voxels apart was never set (RELION 2.0). ChimeraX's test.
    single = origin.astype(np.float32)
    return bool(np.all(np.isfinite(origin)) and not np.any(single + voxel_size.astype(np.float32) == single))


def _is_start_initialised(header: MapHeader) -> bool:
    largest = max(*header.intervals.tolist(), *header.size)
    return bool(np.all(np.abs(header.start) <= _NSTART_LIMIT * largest))


def _with_float_values(header: MapHeader, voxel_size: NDArray[np.float64]) -> MapHeader:
    """Return the header for float32 values (mode 2), with what was missing or wrong in it made good."""
    fields = header.fields
    fields["mode"] = 2
    fields["map"] = b"MAP "
    fields["machst"] = np.frombuffer(_STAMP_OF_BYTE_ORDER[header.byte_order], dtype=np.uint8)
    fields["nsymbt"] = len(header.extended)
    if not header.has_axes:
        fields["mapc"], fields["mapr"], fields["maps"] = 1, 2, 3
    intervals = np.where(header.intervals > 0, header.intervals, header.shape_xyz)
    for axis, n_intervals, length in zip("xyz", intervals, intervals * voxel_size, strict=True):
        fields["m" + axis] = n_intervals
        fields["cella"][axis] = length
    for name, angle in zip(("alpha", "beta", "gamma"), header.angles, strict=True):
        fields["cellb"][name] = angle
    return MapHeader(fields.tobytes(), header.byte_order, header.extended, header.file_type)


def _with_place(header: MapHeader, start: NDArray[np.int64], origin: NDArray[np.float64]) -> MapHeader:
    """Return the header with other NSTART (x, y, z; voxels) and ORIGIN (x, y, z; Å)."""
    fields = header.fields
    for axis, spatial in zip("xyz", header.axes, strict=True):
        # NSTART is stored by column, row, section and must fit 32 bits: one that does not cannot be right either.
        fields[f"n{axis}start"] = np.clip(start[spatial], -(2**31), 2**31 - 1)
    for axis, value in zip("xyz", origin, strict=True):
        fields["origin"][axis] = value
    return MapHeader(fields.tobytes(), header.byte_order, header.extended, header.file_type)
