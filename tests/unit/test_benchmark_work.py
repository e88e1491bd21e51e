"""What the benchmark counts and measures: bytes, bounds, pairs, voxels, turns."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks import grid_kernels, overlap_kernels, timing
from benchmarks.cases import Case, Setup
from benchmarks.machine import MEMORY, Level, Machine, caches, cpu_name
from benchmarks.probes import LINE, arithmetic_probes, bandwidth_probes
from benchmarks.work import Work, bound_of, whole_of

from bayesflex import synthetic
from bayesflex.energy.bonds import bond_energy


@pytest.fixture
def machine() -> Machine:
    bandwidth = {"read": 8e9, "copy": 4e9, "triad": 6e9}
    slow = {"read": 2e9, "copy": 1e9, "triad": 1e9}
    return Machine("a processor", 2, True, (Level("L1", 1000, bandwidth), Level(MEMORY, None, slow)), bandwidth,
                   vector=1e9, scalar=1e8, division=1e8, root=5e7, latency=1e-9)  # fmt: skip


def test_bytes_are_those_read_and_written_and_places_those_of_each_array_once():
    a, b = np.zeros(10), np.zeros(20)
    work = Work(reads=(a, b), writes=(b,), operations=1.0, scattered=64.0)
    assert work.moved == 80 + 160 + 160 + 64
    assert work.footprint == 80 + 160 + 64


def test_a_whole_moves_each_array_once_and_does_what_its_parts_do():
    a, b, c = np.zeros(10), np.zeros(20), np.zeros(5)
    parts = [Work((a,), (b,), 100.0, divisions=1.0, chain=3.0), Work((b[:7], a), (b,), 50.0, executed=80.0, roots=2.0)]
    whole = whole_of(parts, 7.0, (c,))
    assert whole.moved == whole.footprint == 80 + 160 + 40
    assert (whole.operations, whole.executed) == (157.0, 187.0)
    assert (whole.divisions, whole.roots, whole.chain) == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("work", "roof", "limit"),
    [
        # 800 bytes fit into the first level: 800 / 8e9 s; 1000 operations take 1e-6 s.
        (Work((np.zeros(100),), (), 1000.0), 1e-6, ("operations", 1e-6)),
        # 8000 do not: 8000 / 2e9 s.
        (Work((np.zeros(1000),), (), 1000.0), 4e-6, ("bytes from memory", 4e-6)),
        (Work((np.zeros(100),), (), 100.0, divisions=40.0, roots=10.0), 1e-7, ("divisions and roots", 6e-7)),
        (Work((np.zeros(100),), (), 100.0, chain=900.0), 1e-7, ("waiting for results", 9e-7)),
    ],
)
def test_bounds(machine, work, roof, limit):
    bound = bound_of(work, machine)
    assert bound.roof == pytest.approx(roof)
    assert bound.limit == (limit[0], pytest.approx(limit[1]))


def test_caches_are_those_for_data(tmp_path):
    for index, (kind, level, size) in enumerate(
        [("Data", 1, "48K"), ("Instruction", 1, "32K"), ("Unified", 2, "1024K"), ("Unified", 3, "32M")]
    ):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, value in (("type", kind), ("level", level), ("size", size)):
            (folder / name).write_text(f"{value}\n")
    assert caches(tmp_path) == ({"L1": 48 << 10, "L2": 1 << 20, "L3": 32 << 20}, True)
    sizes, known = caches(tmp_path / "nothing")
    assert not known
    assert list(sizes) == ["L1", "L2", "L3"]


def test_the_processor_has_a_name(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: A Processor\n")
    assert cpu_name(tmp_path / "cpuinfo") == "A Processor"
    assert cpu_name(tmp_path / "nothing")


def test_probes_do_what_they_say():
    for size, offset in ((3000, 0), (100_000, 16)):
        for name, probe in bandwidth_probes(size, offset).items():
            probe.repeated(1)
            assert 0.5 * size <= probe.amount <= size + 3 * LINE * 4, name
    for probe in arithmetic_probes().values():
        assert np.isfinite(probe.repeated(1))


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the timed functions move."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(timing.time, "thread_time", lambda: Clock.now)
    return Clock


def test_times_are_medians_of_single_turns(clock):
    lengths = iter([])

    def noisy(turns: int) -> None:
        clock.now += turns * next(lengths, 2e-4)

    def slow(turns: int) -> None:
        clock.now += turns * 1.0
        slow.calls += turns

    slow.calls = 0
    times = timing.median_seconds({"noisy": noisy, "slow": slow}, 9, 1e-3)
    assert times == {"noisy": pytest.approx(2e-4), "slow": pytest.approx(1.0)}
    # Compiled, sized, and sampled a few times; no turns to warm the caches.
    assert slow.calls == 2 + 5


def test_a_kernel_is_repeated_in_compiled_code():
    setup = small_setup()
    arrays = setup.terms["bonds"].arrays
    setup.gradient[:] = 0.0
    timing.in_compiled_code(bond_energy, (setup.rows, setup.gradient, arrays))(3)
    once = np.zeros_like(setup.rows)
    bond_energy(setup.rows, once, arrays)
    np.testing.assert_allclose(setup.gradient, 3.0 * once, rtol=1e-12)


def small_setup() -> Setup:
    return Setup(Case("small", 36, 2.0, lambda: synthetic.two_domain_protein(60)))


def test_pairs_lanes_and_lines_are_those_that_there_are():
    setup = small_setup()
    overlap = setup.overlap
    cutoff = np.sqrt(2.0 / overlap.arrays.scales[0, 0, 0])
    distance = np.linalg.norm(setup.coords[:, None] - setup.coords[None], axis=2)
    pairs = np.count_nonzero(np.triu(distance < cutoff, 1))
    assert overlap_kernels.pairs_within(setup) == pairs
    assert 8 * overlap_kernels.rows_listed(setup) == overlap.tiles.n_pairs >= pairs

    fields = overlap.arrays.fields
    address = fields.coefficients.__array_interface__["data"][0]
    touched = set()
    for cell in ((setup.coords - fields.origin) / fields.spacing).astype(int):
        x, y, z = cell - 1
        block = np.arange(fields.coefficients.size).reshape(fields.coefficients.shape)[
            0, z : z + 4, y : y + 4, x : x + 4
        ]
        touched |= set(((address + fields.coefficients.itemsize * block.ravel()) // LINE).tolist())
    np.testing.assert_array_equal(overlap_kernels.field_lines(overlap.tiles.arrays, overlap.arrays), sorted(touched))


def test_voxels_are_those_within_the_windows():
    setup = small_setup()
    grid = np.stack(np.meshgrid(*(np.arange(36),) * 3, indexing="ij"), axis=-1) * 2.0 + setup.origin  # x, y, z
    inside = np.zeros(setup.shape, dtype=bool)
    for coord in setup.coords:
        inside |= np.all(np.abs(grid - coord) <= grid_kernels.CUT, axis=-1)
    assert grid_kernels.voxels_touched(setup) == np.count_nonzero(inside)
