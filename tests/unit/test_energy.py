"""The structural prior: its values where they are known, and what happens to input that makes no sense."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.random import Generator

from bayesflex.chain import bonded_to_next, pairs_along_chain, runs
from bayesflex.config import FitConfig
from bayesflex.energy import TERMS, build_prior, contacts
from bayesflex.energy.angles import Angles
from bayesflex.energy.bonds import Bonds
from bayesflex.energy.contacts import NativeContacts
from bayesflex.energy.dihedrals import Dihedrals, dihedral_angles
from bayesflex.energy.excluded_volume import ExcludedVolume
from bayesflex.errors import InputError
from bayesflex.protocols import EnergyTerm
from bayesflex.simd import WIDTH
from gradients.test_energy_gradients import folded, trace

CONFIG = FitConfig(resolution=5.0)
HELIX = np.array([[1.5 * k, 2.3 * np.cos(1.745 * k), 2.3 * np.sin(1.745 * k)] for k in range(12)])


def energy(term: EnergyTerm, coords) -> float:
    return term.energy_and_gradient(np.asarray(coords, dtype=np.float64))[0]


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 40])
def test_zero_energy_and_force_at_the_start(name: str, n: int, rng: Generator):
    start = folded(rng, max(n, 2))[:n]
    term = TERMS[name](trace(start), CONFIG)
    assert isinstance(term, EnergyTerm)
    assert term.name == name
    value, gradient = term.energy_and_gradient(start)
    assert value == pytest.approx(0.0, abs=1e-12)
    assert np.abs(gradient).max() < 1e-6


def test_start_with_clashes_has_no_energy(rng: Generator):
    start = rng.random((60, 3)) * 8.0
    start[7] = start[41]
    for term in build_prior(trace(start), CONFIG):
        value, gradient = term.energy_and_gradient(start)
        assert value == pytest.approx(0.0, abs=1e-9)
        assert np.all(np.isfinite(gradient))


def test_bond():
    term = Bonds(trace([[0, 0, 0], [3.8, 0, 0]]), 40.0)
    value, gradient = term.energy_and_gradient(np.array([[0, 0, 0], [0, 4.0, 0]]))
    assert value == pytest.approx(40.0 * 0.2**2)
    assert gradient == pytest.approx(np.array([[0, -16.0, 0], [0, 16.0, 0]]))


@pytest.mark.parametrize("degrees", [1.0, 60.0, 90.0, 179.0])
def test_angle(degrees: float):
    term = Angles(trace([[3.8, 0, 0], [0, 0, 0], [0, 3.8, 0]]), 10.0)
    theta = math.radians(degrees)
    bent = [[3.8, 0, 0], [0, 0, 0], [3.8 * math.cos(theta), 3.8 * math.sin(theta), 0]]
    assert energy(term, bent) == pytest.approx(10.0 * (theta - math.pi / 2) ** 2, abs=1e-12)


@pytest.mark.parametrize("straight", [[[-3.8, 0, 0], [0, 0, 0], [3.8, 0, 0]], [[3.8, 0, 0], [0, 0, 0], [3.8, 0, 0]]])
def test_angle_of_beads_in_line_is_finite(straight):
    term = Angles(trace([[3.8, 0, 0], [0, 0, 0], [0, 3.8, 0]]), 10.0)
    value, gradient = term.energy_and_gradient(np.array(straight, dtype=float))
    assert value == pytest.approx(10.0 * (math.pi / 2) ** 2)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("turn", [-2.0, 0.3, 1.0, 3.0])
def test_dihedral(turn: float):
    def at(phi):
        return 3.8 * np.array([[1, 0, 0], [0, 0, 0], [0, 0, 1], [math.cos(phi), -math.sin(phi), 1]])

    start = at(0.7)
    assert np.abs(dihedral_angles(start, np.array([0]))) == pytest.approx([0.7])
    term = Dihedrals(trace(start), 2.0)
    expected = 2.0 * ((1 - math.cos(turn)) + 0.5 * (1 - math.cos(3 * turn)))
    assert energy(term, at(0.7 + turn)) == pytest.approx(expected)


def test_sign_of_a_dihedral_is_that_of_iupac():
    """Seen along the middle bond, the far bond is clockwise of the near one: positive."""
    coords = np.array([[0, 1.0, 0], [0, 0, 0], [0, 0, -1.0], [1.0, 0, -1.0]])  # the viewer at +z looks down -z
    assert dihedral_angles(coords, np.array([0])) == pytest.approx([math.pi / 2])


def test_dihedral_of_beads_in_line_is_nothing():
    term = Dihedrals(trace(HELIX[:4]), 1.0)
    value, gradient = term.energy_and_gradient(np.array([[0, 0, 0], [3.8, 0, 0], [7.6, 0, 0], [7.6, 3.8, 0]]))
    assert value == 0.0
    assert not gradient.any()


def test_excluded_volume_pushes_apart_and_ends_smoothly():
    start = np.array([[0.0, 0, 0], [20.0, 0, 0]])
    term = ExcludedVolume(trace(start), 1.5)

    def at(r):
        return term.energy_and_gradient(np.array([[0.0, 0, 0], [r, 0, 0]]))

    assert at(4.0)[0] == 0.0
    assert at(3.999)[1][1, 0] == pytest.approx(0.0, abs=0.05)
    assert at(4.0 * math.sqrt(0.75))[0] == pytest.approx(1.5)
    assert at(0.0)[0] == pytest.approx(24.0)
    assert at(3.0)[1][1, 0] < 0.0  # lower energy farther apart


def test_excluded_volume_spares_the_chain():
    coords = HELIX * 0.3
    term = ExcludedVolume(trace(HELIX), 1.0)
    expected = 0.0
    for i in range(12):
        for j in range(i + 4, 12):
            x = np.sum((coords[i] - coords[j]) ** 2) / 16.0
            expected += 16.0 * (1.0 - x) ** 2 if x < 1.0 else 0.0
    assert expected > 0.0
    assert energy(term, coords) == pytest.approx(expected)


def test_a_pair_that_starts_close_keeps_its_distance():
    start = np.array([[0.0, 0, 0], [30.0, 0, 0], [2.0, 0, 0]])
    term = ExcludedVolume(trace(start), 1.0)
    assert energy(term, start) == 0.0
    closer = start.copy()
    closer[2, 0] = 1.5
    assert energy(term, closer) == pytest.approx(16.0 * (1.0 - 0.75**2) ** 2)


def test_a_contact_is_a_well_that_lets_go():
    start = np.array([[0.0, 0, 0], [8.0, 0, 0]])
    term = NativeContacts(trace(start), 0.3, 10.0)
    assert term.n_contacts == 1

    def at(r):
        return energy(term, [[0.0, 0, 0], [r, 0, 0]])

    assert at(8.3) == pytest.approx(0.3 * (1.0 - math.exp(-0.5 * (0.3 / 1.5) ** 2)), rel=0.05)
    assert at(9.5) == pytest.approx(0.3 * (1.0 - math.exp(-0.5)), rel=0.15)
    assert at(14.0) == pytest.approx(0.3, rel=0.01)
    assert at(1e6) == pytest.approx(0.3)


def test_contacts_are_the_pairs_within_reach_but_not_along_the_chain():
    start = folded(np.random.default_rng(3), 50)
    distance = np.linalg.norm(start[:, None] - start[None], axis=2)
    i, j = np.triu_indices(50, k=4)
    assert NativeContacts(trace(start), 0.3, 10.0).n_contacts == np.count_nonzero(distance[i, j] <= 10.0) > 20


@pytest.mark.parametrize("block", [1, 20, 10_000])
def test_contacts_in_blocks_of_any_size_are_the_plain_sum(block, rng, monkeypatch):
    monkeypatch.setattr(contacts, "_BLOCK", block)
    start = folded(rng, 60)
    term = NativeContacts(trace(start), 0.3, 10.0)
    first, last = term.arrays.start[term.arrays.block[:-1]], term.arrays.start[term.arrays.block[1:]]
    assert not np.any(first % WIDTH)
    assert (len(first) == 1) == (block == 10_000)
    assert term.arrays.work.shape == (3, (last - first).max())
    i, j = np.triu_indices(60, k=4)
    distance = np.linalg.norm(start[j] - start[i], axis=1)
    i, j, distance = i[distance <= 10.0], j[distance <= 10.0], distance[distance <= 10.0]
    assert term.n_contacts == len(i)
    coords = start + rng.normal(scale=0.7, size=start.shape)
    apart = coords[j] - coords[i]
    scale = 1.0 / (2.0 * contacts.WELL_WIDTH * np.maximum(distance, contacts.WELL_WIDTH))
    scale, square = (values.astype(np.float32).astype(np.float64) for values in (scale, distance**2))
    u = (np.sum(apart**2, axis=1) - square) * scale
    well = (1.0 + u**2 / 8.0) ** -1
    force = (2.0 * 0.3 * u * scale * well**5)[:, None] * apart
    expected = np.zeros_like(coords)
    np.add.at(expected, j, force)
    np.add.at(expected, i, -force)
    value, gradient = term.energy_and_gradient(coords)
    assert value == pytest.approx(0.3 * np.sum(1.0 - well**4), rel=1e-12)
    np.testing.assert_allclose(gradient, expected, atol=1e-12)


def test_chain_breaks_by_distance_and_by_name():
    coords = HELIX.copy()
    coords[6:] += [5.0, 0.0, 0.0]
    by_distance = bonded_to_next(trace(coords))
    assert np.flatnonzero(~by_distance).tolist() == [5]
    chains = np.array(["A"] * 6 + ["B"] * 6)
    by_name = bonded_to_next(replace(trace(HELIX), chain=chains))
    assert np.array_equal(by_name, by_distance)
    assert runs(by_name, 3).tolist() == [0, 1, 2, 6, 7, 8]
    assert len(pairs_along_chain(by_name)) == 2 * (5 + 4 + 3)
    # Nothing ties the halves but contacts and repulsion.
    for make in (Bonds, Angles, Dihedrals):
        term = make(trace(coords), 1.0)
        moved = coords.copy()
        moved[6:] += [40.0, -3.0, 8.0]
        assert energy(term, moved) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e200])
@pytest.mark.parametrize("name", TERMS)
def test_unusable_coordinates_cost_everything_and_break_nothing(name: str, bad: float, rng: Generator):
    start = folded(rng, 30)
    term = TERMS[name](trace(start), CONFIG)
    moved = start + 0.3 * rng.standard_normal(start.shape)
    before = term.energy_and_gradient(moved)
    for bead in (0, 17, 29):
        broken = moved.copy()
        broken[bead, 2] = bad
        value, gradient = term.energy_and_gradient(broken)
        assert value == math.inf
        assert not gradient.any()
        assert term.add_to(broken, np.zeros_like(broken)) == math.inf
    after = term.energy_and_gradient(moved)
    assert after[0] == before[0]
    assert np.array_equal(after[1], before[1])


@pytest.mark.parametrize("name", TERMS)
def test_collapsed_and_exploded_models_are_numbers(name: str, rng: Generator):
    term = TERMS[name](trace(folded(rng, 30)), CONFIG)
    for coords in (np.zeros((30, 3)), np.ones((30, 3)) * np.arange(30)[:, None], rng.uniform(-1e6, 1e6, (30, 3))):
        value, gradient = term.energy_and_gradient(coords)
        assert math.isfinite(value)
        assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("name", TERMS)
def test_add_to_adds(name: str, rng: Generator):
    start = folded(rng, 30)
    term = TERMS[name](trace(start), CONFIG)
    coords = start + 0.5 * rng.standard_normal(start.shape)
    value, gradient = term.energy_and_gradient(coords)
    total = np.ones_like(coords)
    assert term.add_to(coords, total) == value
    assert total == pytest.approx(1.0 + gradient)


@pytest.mark.parametrize("name", TERMS)
def test_clones_agree_and_share_no_workspace(name: str, rng: Generator):
    start = folded(rng, 40)
    term = TERMS[name](trace(start), CONFIG)
    near, far = (start + spread * rng.standard_normal(start.shape) for spread in (0.4, 6.0))
    before = term.energy_and_gradient(near)
    clone = term.clone()
    assert clone.energy_and_gradient(far)[0] == TERMS[name](trace(start), CONFIG).energy_and_gradient(far)[0]
    again, other = term.energy_and_gradient(near), clone.energy_and_gradient(near)
    assert before[0] == again[0] == other[0]
    assert np.array_equal(before[1], again[1])
    assert np.array_equal(before[1], other[1])


@pytest.mark.parametrize("name", TERMS)
def test_value_does_not_depend_on_the_way_there(name: str, rng: Generator):
    """Bit for bit: a resumed run builds its neighbour list elsewhere than the uninterrupted one."""
    start = folded(rng, 60)
    walked, fresh = (TERMS[name](trace(start), CONFIG) for _ in range(2))
    coords = start
    for _ in range(20):
        coords = coords + 0.3 * rng.standard_normal(start.shape)
        walked.energy_and_gradient(coords)
    one, two = walked.energy_and_gradient(coords), fresh.energy_and_gradient(coords)
    assert one[0] == two[0]
    assert np.array_equal(one[1], two[1])


def test_number_of_beads_is_checked(rng: Generator):
    for term in build_prior(trace(folded(rng, 10)), CONFIG):
        with pytest.raises(InputError, match=r"coordinates of shape \(9, 3\).*model of 10 beads"):
            term.energy_and_gradient(np.zeros((9, 3)))


def test_prior_holds_the_terms_whose_constant_is_not_zero(rng: Generator):
    ca = trace(folded(rng, 20))
    assert [term.name for term in build_prior(ca, CONFIG)] == list(TERMS)
    config = replace(CONFIG, contact_energy=0.0, dihedral_constant=0.0)
    assert [term.name for term in build_prior(ca, config)] == ["bonds", "angles", "excluded_volume"]
    coords = ca.coords.copy()
    coords[3, 1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        build_prior(ca.with_coords(coords), CONFIG)
