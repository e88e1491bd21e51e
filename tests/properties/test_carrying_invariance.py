"""Carrying: what holds for every model and every new trace."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bayesflex.carrying import carry
from bayesflex.geometry import rotation_of_vector
from bayesflex.structure import Structure

seeds = st.integers(0, 2**32 - 1)
vectors = arrays(np.float64, 3, elements=st.floats(-10, 10, allow_subnormal=False))


def random_model(seed: int) -> Structure:
    """Make a model of random walks with side chains, ligands and nucleotides, far from the origin."""
    rng = np.random.default_rng(seed)
    coords, names, numbers, chains = [], [], [], []
    for chain in "ABC"[: rng.integers(1, 4)]:
        place = rng.normal(scale=20.0, size=3) + 200.0
        for number in range(1, rng.integers(4, 30)):
            step = rng.normal(size=3)
            place = place + 3.8 * step / np.linalg.norm(step)
            has_ca = number == 1 or rng.random() < 0.8
            atoms = ["N", "CA", "C", "O", "CB"] if has_ca else ["P", "C1'", "N9"]
            coords.extend(place + (name != "CA") * rng.normal(size=3) for name in atoms)
            names.extend(atoms)
            numbers.extend([number] * len(atoms))
            chains.extend([chain] * len(atoms))
    n = len(names)
    return Structure(
        coords=np.array(coords),
        element=np.array([name[0] for name in names]),
        atom_name=np.array(names),
        residue_name=np.full(n, "UNK"),
        residue_number=np.array(numbers),
        insertion_code=np.full(n, ""),
        chain=np.array(chains),
        occupancy=np.ones(n),
        b_factor=np.zeros(n),
        is_hetero=np.zeros(n, dtype=bool),
    )


@settings(deadline=None)
@given(seeds)
def test_a_trace_that_stays_moves_nothing(seed: int) -> None:
    model = random_model(seed)
    np.testing.assert_allclose(carry(model, model.ca_trace().coords), model.coords, atol=1e-9)


@settings(deadline=None)
@given(seeds, vectors, vectors)
def test_a_rigid_motion_of_the_trace_moves_every_atom_by_it(seed: int, omega: np.ndarray, shift: np.ndarray) -> None:
    model = random_model(seed)
    rotation = rotation_of_vector(omega)
    moved = carry(model, model.ca_trace().coords @ rotation.T + shift)
    np.testing.assert_allclose(moved, model.coords @ rotation.T + shift, atol=1e-8)


@settings(deadline=None)
@given(seeds, vectors)
def test_the_result_does_not_depend_on_the_frame(seed: int, omega: np.ndarray) -> None:
    model = random_model(seed)
    ca_new = model.ca_trace().coords + np.random.default_rng(seed).normal(size=(int(model.is_ca.sum()), 3))
    rotation = rotation_of_vector(omega)
    turned = carry(model, ca_new @ rotation.T)
    np.testing.assert_allclose(turned, carry(model, ca_new) @ rotation.T, atol=1e-6)


@settings(deadline=None)
@given(seeds, st.floats(0.1, 20.0))
def test_ca_lands_where_it_was_sent_and_residues_are_never_mirrored(seed: int, size: float) -> None:
    model = random_model(seed)
    ca = model.ca_indices
    ca_new = model.coords[ca] + size * np.random.default_rng(seed).normal(size=(len(ca), 3))
    ca_new[:, 0] *= -1.0  # a mirrored trace tempts to mirror its surroundings
    moved = carry(model, ca_new)
    np.testing.assert_array_equal(moved[ca], ca_new)
    for first in np.flatnonzero(model.atom_name == "P"):  # nucleotides: three atoms, an exact rigid body
        before, after = model.coords[first : first + 3], moved[first : first + 3]
        np.testing.assert_allclose(
            np.linalg.norm(after - np.roll(after, 1, axis=0), axis=1),
            np.linalg.norm(before - np.roll(before, 1, axis=0), axis=1),
            atol=1e-8,
        )
