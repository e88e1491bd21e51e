"""What counts as α-helical, and how much stiffer the prior makes it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.random import Generator

from bayesflex.config import FitConfig
from bayesflex.energy import TERMS
from bayesflex.geometry import dihedral
from bayesflex.helices import helical_angles, helical_dihedrals
from gradients.directional import check_gradient
from gradients.test_energy_gradients import trace

CONFIG = FitConfig(resolution=5.0)


def helix(n: int, degrees: float = 100.0) -> np.ndarray:
    """CA of an α-helix: 1.5 Å of rise and 100° for a residue, 2.3 Å about the axis."""
    turn = np.radians(degrees) * np.arange(n)
    return np.stack([1.5 * np.arange(n), 2.3 * np.cos(turn), 2.3 * np.sin(turn)], axis=1)


def strand(n: int) -> np.ndarray:
    k = np.arange(n)
    return np.stack([3.3 * k, 0.95 * (-1.0) ** k, np.zeros(n)], axis=1)


def joined(*parts: np.ndarray) -> np.ndarray:
    """Parts one after another, each at a bond's distance from the one before, along x."""
    placed = [parts[0]]
    for part in parts[1:]:
        placed.append(part - part[0] + placed[-1][-1] + np.array([3.8, 0.0, 0.0]))
    return np.concatenate(placed)


def test_a_helix_is_helical_from_end_to_end():
    ca = trace(helix(12))
    assert helical_dihedrals(ca).tolist() == [True] * 9 + [False] * 3
    assert helical_angles(ca).tolist() == [True] * 10 + [False] * 2


@pytest.mark.parametrize("coords", [strand(12), helix(12, -100.0), helix(4), helix(3), helix(1)])
def test_strands_left_handed_helices_and_less_than_five_residues_are_not(coords: np.ndarray):
    assert not helical_dihedrals(trace(coords)).any()
    assert not helical_angles(trace(coords)).any()


def test_five_residues_between_strands_are_the_shortest():
    for n, expected in ((4, 0), (5, 2), (9, 6)):
        found = helical_dihedrals(trace(joined(strand(6), helix(n), strand(6))))
        assert np.count_nonzero(found) == expected
        assert np.flatnonzero(found).tolist() == list(range(6, 6 + expected))


def test_a_helix_ends_where_its_chain_does():
    ca = trace(helix(20), np.repeat(["A", "B"], 10))
    assert np.flatnonzero(helical_dihedrals(ca)).tolist() == [*range(7), *range(10, 17)]


def test_nucleotides_are_not():
    ca = replace(trace(helix(12)), atom_name=np.full(12, "C4'"), residue_name=np.full(12, "DA"))
    assert ca.is_nucleotide_site.all()
    assert not helical_dihedrals(ca).any()


@pytest.mark.parametrize("name", ["angles", "dihedrals"])
def test_stiffness_of_helices_alone(name: str, rng: Generator):
    """The energy of a strand is what it was, and that of a helix so many times what it was."""
    for coords, factor in ((strand(15), 1.0), (helix(15), 4.0)):
        ca, moved = trace(coords), coords + rng.normal(scale=0.3, size=coords.shape)
        energy = [TERMS[name](ca, replace(CONFIG, helix_stiffness=k)).energy_and_gradient(moved)[0] for k in (1.0, 4.0)]
        assert energy[0] > 0.0
        assert energy[1] == pytest.approx(factor * energy[0], rel=1e-12)


@pytest.mark.parametrize("name", ["angles", "dihedrals"])
def test_gradient_with_constants_that_differ(name: str, rng: Generator):
    start = joined(strand(7), helix(11), strand(6))
    term = TERMS[name](trace(start), CONFIG)
    coords = start + rng.normal(scale=0.3, size=start.shape)
    _, gradient = term.energy_and_gradient(coords)
    check_gradient(lambda x: term.energy_and_gradient(x)[0], coords, gradient, rng, step=1e-4, rtol=1e-6)


def test_a_dihedral_across_the_end_of_a_helix_is_not_stiff(rng: Generator):
    start = joined(helix(10), strand(8))
    soft, stiff = (TERMS["dihedrals"](trace(start), replace(CONFIG, helix_stiffness=k)) for k in (1.0, 4.0))
    # Turned about the last bond within the helix: the dihedral that changes holds one residue of the strand.
    axis = start[9] - start[8]
    axis /= np.linalg.norm(axis)
    moved, far = start.copy(), start[10:] - start[9]
    angle = 0.4
    moved[10:] = (
        start[9]
        + far * np.cos(angle)
        + np.cross(axis, far) * np.sin(angle)
        + np.outer(far @ axis, axis) * (1.0 - np.cos(angle))
    )
    assert dihedral(*moved[7:11]) - dihedral(*start[7:11]) == pytest.approx(angle, abs=1e-9)
    assert stiff.energy_and_gradient(moved)[0] == pytest.approx(soft.energy_and_gradient(moved)[0], rel=1e-12)
