"""Every energy term of the table against directional differences, near the start and far from it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import Generator

from bayesflex.config import FitConfig
from bayesflex.energy import TERMS
from bayesflex.energy.dihedrals import Dihedrals
from bayesflex.structure import Structure
from gradients.directional import check_gradient


def trace(coords, chain="A") -> Structure:
    n = len(coords)
    return Structure(
        coords=np.asarray(coords, dtype=np.float64),
        element=np.full(n, "C"),
        atom_name=np.full(n, "CA"),
        residue_name=np.full(n, "ALA"),
        residue_number=np.arange(1, n + 1),
        insertion_code=np.full(n, ""),
        chain=np.full(n, chain),
        occupancy=np.ones(n),
        b_factor=np.zeros(n),
        is_hetero=np.zeros(n, dtype=bool),
    )


def folded(rng: Generator, n: int = 60) -> np.ndarray:
    """A chain of 3.8 Å bonds and angles of 80 to 150° that stays in a ball: compact enough for contacts."""
    coords = [np.zeros(3), np.array([3.8, 0.0, 0.0])]
    while len(coords) < n:
        step = rng.standard_normal(3) - 0.08 * coords[-1]
        step *= 3.8 / np.linalg.norm(step)
        back = coords[-2] - coords[-1]
        if 80.0 < np.degrees(np.arccos(step @ back / 3.8**2)) < 150.0:
            coords.append(coords[-1] + step)
    return np.array(coords)


@pytest.mark.parametrize("spread", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("name", TERMS)
def test_gradient_of_every_term(name: str, spread: float, rng: Generator):
    start = folded(rng)
    term = TERMS[name](trace(start), FitConfig(resolution=5.0))
    coords = start + rng.normal(scale=spread, size=start.shape)
    energy, gradient = term.energy_and_gradient(coords)
    assert energy > 0.0 or (name == "excluded_volume" and spread < 0.1)
    # The force of excluded volume has a bend where two beads begin to touch: a short step seldom crosses one.
    step = 1e-6 if name == "excluded_volume" else 1e-4
    check_gradient(lambda x: term.energy_and_gradient(x)[0], coords, gradient, rng, step=step, rtol=1e-6)


@pytest.mark.parametrize("opening", [1e-3, 0.05, 0.2, 0.3])
def test_dihedral_gradient_where_three_beads_are_almost_straight(opening: float, rng: Generator):
    term = Dihedrals(trace(folded(rng, 4)), 1.0)
    coords = 3.8 * np.array([[-1, 0, 0], [0, 0, 0], [np.cos(opening), np.sin(opening), 0], [1.4, 0.3, 0.9]])
    energy, gradient = term.energy_and_gradient(coords)
    assert energy > 0.0
    assert np.abs(gradient).max() < 10.0
    check_gradient(lambda x: term.energy_and_gradient(x)[0], coords, gradient, rng, step=1e-4 * opening, rtol=1e-5)


def test_gradient_of_excluded_volume_for_pairs_that_start_close(rng: Generator):
    start = folded(rng, 30)
    start[25] = start[5] + [2.0, 0.5, 0.0]
    term = TERMS["excluded_volume"](trace(start), FitConfig(resolution=5.0))
    coords = start + rng.normal(scale=0.05, size=start.shape)  # away from the bend, where close pairs start
    coords[25] = coords[5] + [1.2, 0.5, 0.1]
    energy, gradient = term.energy_and_gradient(coords)
    assert energy > 0.0
    check_gradient(lambda x: term.energy_and_gradient(x)[0], coords, gradient, rng, step=1e-6)
