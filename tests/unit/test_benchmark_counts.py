"""The operations that the benchmark counts by formulas are those that the kernels do."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks import overlap_kernels, prior_kernels, step_kernels
from counting import WIDTH, Tally, counted, python_of

from bayesflex import deformation_kernels, simd
from bayesflex.energy import angles, bonds, contacts, dihedrals, excluded_volume
from bayesflex.mcmc import masses
from bayesflex.overlap import field, pair_function

#: A straight run of stretches along a chain, two groups of eight; the last beads begin none, as at every chain's end.
N_CHAIN = 2 * WIDTH


@pytest.fixture
def tally() -> Tally:
    return Tally()


def chain(rng) -> np.ndarray:
    return np.cumsum(rng.normal(size=(N_CHAIN, 3)), axis=0)


@pytest.mark.parametrize(
    ("module", "kernel", "arrays", "operations", "divisions", "roots"),
    [
        (bonds, "bond_energy", bonds.BondArrays, prior_kernels.BOND, 1, 1),
        (angles, "angle_energy", angles.AngleArrays, prior_kernels.ANGLE, 2, 2),
        (dihedrals, "dihedral_energy", dihedrals.DihedralArrays, prior_kernels.DIHEDRAL, 2, 2),
    ],
)
def test_terms_along_the_chain(monkeypatch, rng, tally, module, kernel, arrays, operations, divisions, roots):
    helpers = {}
    for owner, name in ((module, "_fade"), (module, "arc")):
        if hasattr(owner, name):
            where = simd if name == "arc" else module
            helpers[name] = python_of(where, monkeypatch, name)
    energy = python_of(module, monkeypatch, kernel, **helpers)
    constants = [counted(rng.uniform(0.1, 0.9, N_CHAIN), tally) for _ in arrays._fields]
    coords = simd.with_margin(chain(rng))
    energy(counted(coords, tally), counted(np.zeros(coords.shape), tally), arrays(*constants))
    # The sum of the energies of eight lanes comes once.
    assert tally.counts["operations"] - (WIDTH - 1) == N_CHAIN * operations
    assert tally.counts["div"] == N_CHAIN * divisions
    assert tally.counts["root"] == N_CHAIN * roots


def test_contacts(monkeypatch, rng, tally):
    n, per_bead = 5, 2 * WIDTH // 4
    start = np.minimum(np.arange(n + 1) * per_bead, 2 * WIDTH)
    partner = np.tile(np.arange(1, n), 4)[: 2 * WIDTH]
    energy = python_of(contacts, monkeypatch, "contact_energy")
    arrays = contacts.ContactArrays(
        np.array([0, n]),
        start,
        partner,
        counted(rng.uniform(size=2 * WIDTH), tally),
        counted(rng.uniform(size=2 * WIDTH), tally),
        1.0,
        counted(np.zeros((3, 2 * WIDTH)), tally),
    )
    energy(counted(rng.normal(size=(n, 3)), tally), counted(np.zeros((n, 3)), tally), arrays)
    known = 2 * WIDTH * prior_kernels.CONTACT + n * prior_kernels.FELT
    # Once: the sum of the lanes' energies, times the depth.
    assert tally.counts["operations"] == known + (WIDTH - 1) + 1
    assert tally.counts["div"] == 2 * WIDTH


def test_excluded_volume(monkeypatch, tally):
    # Two pairs push, two are only looked at.
    coords = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 0.5], [2.0, -1.0, 1.0], [30.0, 0.0, 0.0], [0.0, 30.0, 0.0]])
    first, partner = np.zeros(4, np.int64), np.array([1, 2, 3, 4])
    none = np.zeros(6, np.int64), np.zeros(0, np.int32), np.zeros(0)
    energy = python_of(excluded_volume, monkeypatch, "repulsion_energy")
    arrays = excluded_volume.RepulsionArrays(first, partner, *none, 1.0)
    energy(counted(coords, tally), counted(np.zeros((5, 3)), tally), arrays)
    assert tally.counts["operations"] - 1 == 4 * prior_kernels.LISTED + 2 * prior_kernels.CLOSE
    assert tally.counts["div"] == 4


def test_two_fields(monkeypatch, rng, tally):
    interpolate = python_of(field, monkeypatch, "interpolate", _spline=python_of(field, monkeypatch, "_spline"))
    n = 3
    spacing = np.array([1.0, 1.1, 1.2])  # each its own: what is computed twice from the same numbers counts once
    units, bases = np.array([1.3, 1.4]), np.array([0.1, 0.2])
    fields = field.FieldArrays(counted(rng.normal(size=(1, 7, 7, 7, 2)), tally), np.zeros(3), spacing, units, bases)
    arguments = (
        counted(rng.uniform(2.0, 4.0, (3, n)), tally),
        counted(np.ones(n), tally),
        np.zeros(n, np.int64),
        0,
        fields,
        np.zeros((2, WIDTH), dtype=object),
        counted(np.zeros(2), tally),
        counted(np.zeros((2, 3, n)), tally),
        0,
        n,
    )
    interpolate(*arguments)
    assert tally.counts["operations"] == n * overlap_kernels.TWO_FIELDS
    assert tally.counts["div"] == 0


@pytest.mark.parametrize("degree", [10, 14])
def test_pairs(monkeypatch, rng, tally, degree):
    pair_sum = python_of(pair_function, monkeypatch, "pair_sum")
    n_tiles, rows = 2, np.array([0b00001111, 0b11111101, 0b11111111])
    arguments = (
        counted(rng.normal(size=(3, WIDTH * n_tiles)), tally),
        counted(np.ones(WIDTH * n_tiles), tally),
        np.array([0, 2, 3]),
        np.array([0, 1, 1]),
        rows,
        np.zeros(n_tiles, np.int64),
        rng.normal(size=(1, 1, degree + 1)),
        np.array([[[2.0 / 9.0, 8.0 / 9.0, 9.0 / 8.0]]]),
        counted(np.zeros((3, WIDTH * n_tiles)), tally),
        np.zeros((WIDTH, 3, WIDTH), dtype=object),
        0,
        n_tiles,
    )
    pair_sum(*arguments)
    lanes = WIDTH * sum(int(bits).bit_count() for bits in rows)
    counted_by_formula = lanes * overlap_kernels.operations_per_pair(degree + 1) + n_tiles * overlap_kernels.ADDED_UP
    counted_by_formula += len(rows) * overlap_kernels.SCALED
    # Once: the sum of the lanes' energies, doubled.
    assert tally.counts["operations"] == counted_by_formula + (WIDTH - 1) + 1


@pytest.mark.parametrize("n_modes", [0, 3, 6])
def test_deformation_and_its_way_back(monkeypatch, rng, n_modes):
    n = WIDTH + 3
    arrays = deformation_kernels.DeformationArrays(
        rng.normal(size=(n, 3)),
        rng.normal(size=(n_modes, 3 * n)),
        True,
        True,
        np.zeros(3),
        1.0,
        1.0,
        np.zeros((0, 3)),
        np.zeros(1, np.int64),
        np.zeros(0, np.int64),
        np.zeros(0),
    )
    tally = Tally()
    theta = np.concatenate([counted(rng.normal(size=n_modes + 3 * n), tally), np.full(6, 0.1)])
    deform = python_of(deformation_kernels, monkeypatch, "deform")
    deform(theta, arrays._replace(start=counted(arrays.start, tally)), np.empty((n, 3), dtype=object))
    assert tally.counts["operations"] == step_kernels.deformation_operations(n, n_modes)

    tally = Tally()
    of_motion = python_of(deformation_kernels, monkeypatch, "_pull_back_motion")
    pull_back = python_of(deformation_kernels, monkeypatch, "pull_back", _pull_back_motion=of_motion)
    coords, gradient = (counted(rng.normal(size=(n, 3)), tally) for _ in range(2))
    counting_modes = arrays._replace(modes=counted(arrays.modes, tally))
    pull_back(theta, coords, counting_modes, gradient, np.zeros(len(theta), dtype=object))
    # Four modes are taken at a time: where fewer are left, the last one is taken again, which counts for nothing.
    again = -n_modes % 4
    # Lanes are added up once: of torque and force, and of each mode.
    once = (WIDTH - 1) * (6 + n_modes + again) + again * 2 * (3 * n - 3 * n % WIDTH)
    # So does the torque's turn into that of omega come once.
    assert abs(tally.counts["operations"] - once - step_kernels.pull_back_operations(n, n_modes)) < 40


def test_banded_solve(monkeypatch, rng, tally):
    n, width = 6, 11
    row = python_of(masses, monkeypatch, "_eleven")
    solve = python_of(masses, monkeypatch, "solve_band", _eleven=row)
    band = masses.BandSolver(*(counted(rng.normal(size=size), tally) for size in ((n, width), (n, width), n)))
    solve(band, counted(rng.normal(size=n), tally), np.zeros(n, dtype=object))
    assert tally.counts["operations"] == step_kernels.band_operations(n, width)
    assert tally.counts["div"] == 0
