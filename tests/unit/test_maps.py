"""Headers written by hand: where the map lies, what its values are, and what is refused."""

from __future__ import annotations

import gzip
import io
import itertools
import struct
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from bayesflex.density_map import DensityMap
from bayesflex.errors import InputError
from bayesflex.io.maps import describe_map, read_map, write_map

STAMPS = {"<": b"\x44\x44\x00\x00", ">": b"\x11\x11\x00\x00"}
TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}


def mrc_bytes(
    values: np.ndarray | None = None,
    *,
    mode: int = 2,
    order: str = "<",
    axes: tuple[int, int, int] = (1, 2, 3),
    start: tuple[int, int, int] = (0, 0, 0),
    intervals: tuple[int, int, int] | None = None,
    cell: tuple[float, float, float] | None = None,
    angles: tuple[float, float, float] = (90.0, 90.0, 90.0),
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    map_id: bytes = b"MAP ",
    stamp: bytes | None = None,
    extended: bytes = b"",
    n_extended: int | None = None,
    labels: bytes = b"",
    imod: tuple[int, int] = (0, 0),
    size: tuple[int, int, int] | None = None,
) -> bytes:
    """Pack a file by the words of the format. ``values`` are (sections, rows, columns), ``start`` is (C, R, S)."""
    values = example() if values is None else values
    size = size or values.shape[::-1]
    if intervals is None:
        by_axis = dict(zip(axes, size, strict=True))
        intervals = tuple(by_axis.get(axis, size[axis - 1]) for axis in (1, 2, 3))
    cell = cell or tuple(2.0 * n for n in intervals)
    header = struct.pack(
        order + "3i i 3i 3i 3f 3f 3i 3f 2i",
        *size, mode, *start, *intervals, *cell, *angles, *axes, 0.0, -1.0, -2.0, 1,
        len(extended) if n_extended is None else n_extended,
    )  # fmt: skip
    header += b"\0" * 56 + struct.pack(order + "2i", *imod) + b"\0" * 36  # words 25 to 49
    header += struct.pack(order + "3f", *origin) + map_id + (STAMPS[order] if stamp is None else stamp)
    header += struct.pack(order + "f i", -1.0, 1) + labels.ljust(800, b"\0")
    assert len(header) == 1024
    return header + extended + values.astype(order + TYPES.get(mode, "f4")).tobytes()


def example() -> np.ndarray:
    """Values that differ along every axis, and so show any permutation; integers within a signed byte."""
    return np.arange(4 * 3 * 5, dtype=np.float32).reshape(4, 3, 5)


def written(folder: Path, content: bytes, name: str = "x.mrc") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", TYPES)
def test_modes_and_byte_orders(tmp_path: Path, mode: int, order: str) -> None:
    density = read_map(written(tmp_path, mrc_bytes(mode=mode, order=order)))
    assert density.values.dtype == np.float32
    assert density.values.dtype.isnative
    np.testing.assert_array_equal(density.values, example())
    np.testing.assert_allclose(density.voxel_size, 2.0)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("stamp", [b"\0\0\0\0", b"DA\0\0", b"\xff\xff\xff\xff", STAMPS["<"], STAMPS[">"]])
def test_machine_stamp_missing_or_wrong(tmp_path: Path, order: str, stamp: bytes) -> None:
    density = read_map(written(tmp_path, mrc_bytes(order=order, stamp=stamp)))
    np.testing.assert_array_equal(density.values, example())
    is_right = stamp == STAMPS[order] or (order == "<" and stamp == b"DA\0\0")
    assert any("machine stamp" in note for note in density.notes) != is_right


def test_signed_and_unsigned_bytes(tmp_path: Path) -> None:
    values = np.array([[[-1, 0, 1, 2]]], dtype=np.int8)
    imod = 1146047817
    assert read_map(written(tmp_path, mrc_bytes(values, mode=0))).values.min() == -1
    assert read_map(written(tmp_path, mrc_bytes(values, mode=0, imod=(imod, 1)))).values.min() == -1
    assert read_map(written(tmp_path, mrc_bytes(values, mode=0, imod=(imod, 0)))).values.max() == 255
    assert read_map(written(tmp_path, mrc_bytes(values, mode=0, map_id=b"\0" * 4))).values.max() == 255


def test_missing_map_identifier_and_gzip(tmp_path: Path) -> None:
    content = mrc_bytes(map_id=b"\0\0\0\0", start=(1, 2, 3))
    density = read_map(written(tmp_path, gzip.compress(content), "named_without_gz.mrc"))
    np.testing.assert_array_equal(density.values, example())
    np.testing.assert_allclose(density.origin, [2.0, 4.0, 6.0])
    assert any("'MAP '" in note for note in density.notes)


@pytest.mark.parametrize("axes", list(itertools.permutations((1, 2, 3))))
def test_axis_order(tmp_path: Path, axes: tuple[int, int, int]) -> None:
    """Each stored value is looked up where the definition of MAPC, MAPR, MAPS puts it; NSTART follows them."""
    stored = example()
    cell = (7.0, 11.0, 13.0)  # anisotropic, along x, y, z
    content = mrc_bytes(stored, axes=axes, start=(10, 20, 30), intervals=(7, 11, 26), cell=cell)
    density = read_map(written(tmp_path, content))
    np.testing.assert_allclose(density.voxel_size, [1.0, 1.0, 0.5])
    for section, row, column in np.ndindex(stored.shape):
        position = dict(zip(axes, (column, row, section), strict=True))
        assert density.values[position[3], position[2], position[1]] == stored[section, row, column]
    start = dict(zip(axes, (10, 20, 30), strict=True))
    np.testing.assert_allclose(density.origin, np.array([start[1], start[2], start[3]]) * density.voxel_size)


@pytest.mark.parametrize(
    ("start", "origin", "expected"),
    [
        ((0, 0, 0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((0, 0, 0), (0.3, 0.0, 0.0), (0.3, 0.0, 0.0)),  # small, but NSTART is all zero
        ((5, 0, -2), (0.0, 0.0, 0.0), (10.0, 0.0, -4.0)),
        ((5, 0, -2), (0.0, 0.99, 0.0), (10.0, 0.0, -4.0)),  # below half a voxel of 2 Å
        ((5, 0, -2), (0.0, -1.0, 0.0), (0.0, -1.0, 0.0)),  # half a voxel
        ((5, 0, -2), (float("nan"), 8.0, 0.0), (10.0, 0.0, -4.0)),
        ((5, 0, -2), (1e30, 8.0, 0.0), (10.0, 0.0, -4.0)),  # uninitialised
        ((2**30, 0, 0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),  # uninitialised
        ((2**30, 0, 0), (0.5, 0.0, 0.0), (0.5, 0.0, 0.0)),
    ],
)
def test_placement_is_origin_or_nstart(
    tmp_path: Path, start: tuple[int, int, int], origin: tuple[float, float, float], expected: tuple[float, ...]
) -> None:
    density = read_map(written(tmp_path, mrc_bytes(start=start, origin=origin)))
    np.testing.assert_allclose(density.origin, expected, rtol=1e-6)


def test_placement_by_choice(tmp_path: Path) -> None:
    path = written(tmp_path, mrc_bytes(start=(5, 0, -2), origin=(7.0, 8.0, 9.0)))
    chosen = {choice: read_map(path, origin=choice) for choice in (None, "origin", "NSTART", "1,-2.5, 3e1")}
    origins = {choice: density.origin.tolist() for choice, density in chosen.items()}
    assert origins == {None: [7, 8, 9], "origin": [7, 8, 9], "NSTART": [10, 0, -4], "1,-2.5, 3e1": [1, -2.5, 30]}
    assert chosen[None].other_origins == (("nstart", (10.0, 0.0, -4.0)),)
    assert chosen["NSTART"].other_origins == (("origin", (7.0, 8.0, 9.0)),)
    for bad in ("middle", "1,2", "1,2,nan"):
        with pytest.raises(InputError, match="--origin"):
            read_map(path, origin=bad)


def test_voxel_size_overrides_the_header(tmp_path: Path) -> None:
    path = written(tmp_path, mrc_bytes(start=(5, 0, -2), cell=(0.0, 0.0, 0.0)))
    density = read_map(path, voxel=3.0)
    np.testing.assert_allclose(density.voxel_size, 3.0)
    np.testing.assert_allclose(density.origin, [15.0, 0.0, -6.0])
    write_map(density, path)
    np.testing.assert_allclose(read_map(path).voxel_size, 3.0)


def test_tolerated_headers(tmp_path: Path) -> None:
    assert read_map(written(tmp_path, mrc_bytes(labels=b"\xff\xe9 caf\xe9"))).shape_xyz == (5, 3, 4)
    assert read_map(written(tmp_path, mrc_bytes(angles=(0.0, 0.0, 0.0)))).shape_xyz == (5, 3, 4)
    assert read_map(written(tmp_path, mrc_bytes(angles=(90.0, 89.995, 90.0)))).shape_xyz == (5, 3, 4)
    assert read_map(written(tmp_path, mrc_bytes(axes=(0, 0, 0)))).shape_xyz == (5, 3, 4)
    absent = read_map(written(tmp_path, mrc_bytes(n_extended=160)))
    np.testing.assert_array_equal(absent.values, example())
    padded = read_map(written(tmp_path, mrc_bytes() + b"\0" * 100))
    np.testing.assert_array_equal(padded.values, example())
    assert any("100 bytes" in note for note in padded.notes)


NAN, INF = float("nan"), float("inf")
WITH_NAN = example()
WITH_NAN[1, 2, 3] = NAN
WITH_NAN[3, 2, 4] = INF

REFUSED = {
    "empty file": (b"", "empty file"),
    "short text": (b"hello", "not a map"),
    "pdb": (b"ATOM      1  N   LEU B 219      89.179  82.878  82.086\n" * 40, "not a map"),
    "zeros": (b"\0" * 4000, "empty map"),
    "no rows": (mrc_bytes(size=(5, 0, 4)), "empty map"),
    "negative size": (mrc_bytes(size=(5, -3, 4)), "not a map"),
    "truncated": (mrc_bytes()[:-1], "1264 bytes .* got 1263"),
    "too long": (mrc_bytes() + b"\0" * 5000, "1264 bytes .* got 6264"),
    "negative extended header": (mrc_bytes(n_extended=-8)[:-8], "extended header"),
    "garbage mode": (mrc_bytes(mode=77), "mode 77"),
    "transform": (mrc_bytes(mode=4), "mode 4 .*transform"),
    "not orthogonal": (mrc_bytes(angles=(90.0, 94.3, 90.0)), "orthogonal .*94.3"),
    "angle nan": (mrc_bytes(angles=(90.0, NAN, 90.0)), "orthogonal"),
    "constant": (mrc_bytes(np.full((4, 3, 5), 7.0)), "constant .*60 values are 7"),
    "nan": (mrc_bytes(WITH_NAN), r"2 of 60 .*\(3, 2, 1\)"),
    "voxel zero": (mrc_bytes(cell=(0.0, 6.0, 8.0)), "--voxel"),
    "voxel negative": (mrc_bytes(cell=(-10.0, 6.0, 8.0)), "--voxel"),
    "voxel nan": (mrc_bytes(cell=(NAN, 6.0, 8.0)), "--voxel"),
    "voxel infinite": (mrc_bytes(cell=(INF, 6.0, 8.0)), "--voxel"),
    "no intervals": (mrc_bytes(intervals=(0, 3, 4), cell=(10.0, 6.0, 8.0)), "--voxel"),
    "gzip cut short": (gzip.compress(mrc_bytes())[:-20], "unpacked"),
    "gzip damaged": (gzip.compress(mrc_bytes())[:10] + b"\xff" * 100, "unpacked"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path: Path, case: str) -> None:
    content, message = REFUSED[case]
    path = written(tmp_path, content)
    with pytest.raises(InputError, match=message) as error:
        read_map(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_refused_paths_and_voxel(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_map(tmp_path / "absent.mrc")
    with pytest.raises(InputError, match="folder"):
        read_map(tmp_path)
    path = written(tmp_path, mrc_bytes())
    for voxel in (0.0, -1.0, NAN, INF):
        with pytest.raises(InputError, match="--voxel"):
            read_map(path, voxel=voxel)


def chimerax_position(path: Path) -> np.ndarray:
    """Where ChimeraX puts the file: a plain second reading, for axes in any order and voxels from cell / M."""
    with mrcfile.open(path, permissive=True) as mrc:
        header = mrc.header
        axes = [int(header[name]) for name in ("mapc", "mapr", "maps")]
        start = dict(zip(axes, (int(header[f"n{a}start"]) for a in "xyz"), strict=True))
        voxel = np.array([float(header.cella[a]) / int(header[f"m{a}"]) for a in "xyz"])
        origin = np.array([float(header.origin[a]) for a in "xyz"])
    uses_origin = origin.any() and not path.name.removesuffix(".gz").endswith((".map", ".ccp4"))
    return origin if uses_origin else np.array([start[1], start[2], start[3]]) * voxel


@pytest.mark.parametrize("order", ["<", ">"])
def test_same_grid_keeps_the_header(tmp_path: Path, order: str) -> None:
    extended = b"X,Y,Z".ljust(80)
    content = mrc_bytes(
        order=order, axes=(2, 3, 1), start=(10, 20, 30), intervals=(50, 60, 70), extended=extended, labels=b"caf\xe9"
    )
    path = written(tmp_path, content)
    density = read_map(path)
    copy = tmp_path / "copy.mrc"
    write_map(density.with_values(density.values * 2.0 + 1.0), copy)
    before, after = path.read_bytes(), copy.read_bytes()
    # Words 20 to 22 and 55 are statistics: the only ones that may change.
    assert after[:76] == before[:76]
    assert after[88:216] == before[88:216]
    assert after[220:1104] == before[220:1104]
    assert struct.unpack(order + "3f", after[76:88]) == (1.0, 119.0, 60.0)
    assert struct.unpack(order + "f", after[216:220])[0] == pytest.approx(np.std(density.values * 2.0), rel=1e-6)
    np.testing.assert_array_equal(read_map(copy).values, density.values * 2.0 + 1.0)


ORIGINS = [(0.0, 0.0, 0.0), (-7.6e-6, 0.0, 1.9e-5), (0.3, -0.2, 0.1), (-40.0, 6.0, 8.0)]
STARTS = [(0, 0, 0), (-17, -26, 4)]


@pytest.mark.parametrize("name", ["out.mrc", "out.mrc.gz", "out.map", "out.ccp4"])
@pytest.mark.parametrize("source", ["x.mrc", "x.ccp4"])
@pytest.mark.parametrize("choice", [None, "nstart", "origin", "4,4,-6"])
def test_written_maps_lie_where_they_were_placed(tmp_path: Path, name: str, source: str, choice: str | None) -> None:
    """Here and in ChimeraX, on the same grid and on a new one, whatever the header said."""
    n_written = 0
    for start, origin in itertools.product(STARTS, ORIGINS):
        path = written(tmp_path, mrc_bytes(start=start, origin=origin, axes=(3, 1, 2)), source)
        density = read_map(path, origin=choice)
        if ".mrc" not in name and not np.allclose(density.origin / 2.0, np.rint(density.origin / 2.0), atol=1e-3):
            continue  # such a file cannot start there: the next test
        for changed in (density, density.on_grid(density.values[:, 1:], density.voxel_size, density.origin)):
            write_map(changed, tmp_path / name)
            np.testing.assert_allclose(chimerax_position(tmp_path / name), density.origin, atol=2e-3)
            np.testing.assert_allclose(read_map(tmp_path / name).origin, density.origin, atol=2e-3)
            n_written += 1
    assert n_written >= 12


def test_origin_of_rounding_errors_is_cleared_and_nstart_kept(tmp_path: Path) -> None:
    """ChimeraX takes NSTART from a .ccp4 file and any ORIGIN from a .mrc file: this header would jump between them."""
    density = read_map(written(tmp_path, mrc_bytes(start=(-17, -26, 4), origin=(-7.6e-6, 0.0, 1.9e-5)), "x.ccp4"))
    write_map(density, tmp_path / "out.mrc")
    header = read_map(tmp_path / "out.mrc").header
    assert header.start.tolist() == [-17, -26, 4]
    assert header.origin.tolist() == [0.0, 0.0, 0.0]


def test_ccp4_file_cannot_start_at_a_fraction_of_a_voxel(tmp_path: Path) -> None:
    path = written(tmp_path, mrc_bytes(origin=(0.3, -0.2, 0.1)), "x.ccp4")
    density = read_map(path)
    cropped = density.on_grid(density.values[:, 1:], density.voxel_size, density.origin)
    for name in ("out.map", "out.ccp4.gz"):
        with pytest.raises(InputError, match=r"whole number of voxels .*\.mrc"):
            write_map(cropped, tmp_path / name)
        # On the grid that was read the header stays: ChimeraX ignores its ORIGIN in both files, and they overlay.
        write_map(density, tmp_path / name)
        np.testing.assert_allclose(read_map(tmp_path / name).origin, density.origin, rtol=1e-6)
        np.testing.assert_allclose(chimerax_position(tmp_path / name), chimerax_position(path))


def test_new_map_is_a_valid_file(tmp_path: Path) -> None:
    values = example().astype(np.float64) / 7.0
    density = DensityMap(values, np.array([1.0, 1.5, 2.0]), np.array([-3.25, 100.1, 0.0]))
    path = tmp_path / "new.mrc"
    write_map(density, path)
    assert mrcfile.validate(path, print_file=io.StringIO())
    with mrcfile.open(path) as mrc:
        np.testing.assert_allclose(mrc.data, values, rtol=1e-6)
        assert mrc.header.mode == 2
        assert mrc.header.ispg == 1
        np.testing.assert_allclose(mrc.voxel_size.tolist(), [1.0, 1.5, 2.0])
        np.testing.assert_allclose(mrc.header.origin.tolist(), [-3.25, 100.1, 0.0], rtol=1e-6)


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = written(tmp_path, mrc_bytes())
    density = read_map(path)
    with pytest.raises(InputError, match="cannot be written"):
        write_map(density, tmp_path / "no_such_folder" / "x.mrc")
    assert [item.name for item in tmp_path.iterdir()] == ["x.mrc"]


def test_describe_map(tmp_path: Path) -> None:
    rows = describe_map(read_map(written(tmp_path, mrc_bytes(axes=(3, 2, 1), mode=1, labels=b"from a test"))))
    table = dict(rows)
    assert table["grid (x, y, z)"] == "4 × 3 × 5 voxels"
    assert table["mode"] == "1 (int16)"
    assert table["axes of columns, rows, sections"] == "z, y, x"
    assert table["label"] == "from a test"
    bare = DensityMap(example(), np.ones(3), np.zeros(3))
    assert "mode" not in dict(describe_map(bare))


def test_with_values_refuses_another_shape() -> None:
    density = DensityMap(example(), np.ones(3), np.zeros(3))
    with pytest.raises(InputError, match="grid"):
        density.with_values(example()[1:])
