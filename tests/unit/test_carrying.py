"""Carrying: which atom moves with what, on a small chain."""

from __future__ import annotations

import numpy as np
import pytest

from bayesflex.carrying import carry, make_carrier
from bayesflex.errors import InputError
from bayesflex.geometry import rotation_of_vector, superposed_rmsd
from bayesflex.structure import Structure

# A residue of an extended chain (Å), seen from its CA. The next one lies _RISE further along x and is turned by 180°
# about x; CA atoms zigzag by _ZIGZAG about the axis, 3.8 Å apart.
_RISE, _ZIGZAG = 3.35, -0.9
_RESIDUE = {
    "N": (-1.2, 0.6, 0.0),
    "CA": (0.0, 0.0, 0.0),
    "CB": (0.1, -0.9, 1.2),
    "C": (1.25, 0.7, 0.1),
    "O": (1.3, 1.9, 0.2),
}


def chain_of(n_residues: int, name: str = "A", at: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Structure:
    coords, names, numbers = [], [], []
    for i in range(n_residues):
        flip = rotation_of_vector([np.pi * i, 0.0, 0.0])
        for atom, place in _RESIDUE.items():
            coords.append(
                flip @ (np.array(place) + np.array([0.0, _ZIGZAG, 0.0])) + np.array(at) + [_RISE * i, 0.0, 0.0]
            )
            names.append(atom)
            numbers.append(i + 1)
    return structure_of(coords, names, ["ALA"] * len(names), numbers, [name] * len(names))


def structure_of(
    coords: list, names: list[str], residues: list[str], numbers: list[int], chains: list[str]
) -> Structure:
    n = len(names)
    return Structure(
        coords=np.array(coords, dtype=float),
        element=np.array([name[0] for name in names]),
        atom_name=np.array(names),
        residue_name=np.array(residues),
        residue_number=np.array(numbers),
        insertion_code=np.full(n, ""),
        chain=np.array(chains),
        occupancy=np.ones(n),
        b_factor=np.zeros(n),
        is_hetero=np.zeros(n, dtype=bool),
    )


def join(*parts: Structure) -> Structure:
    return structure_of(
        np.concatenate([p.coords for p in parts]).tolist(),
        *[
            np.concatenate([getattr(p, key) for p in parts]).tolist()
            for key in ("atom_name", "residue_name", "residue_number", "chain")
        ],
    )


def ligand(at: tuple[float, float, float], number: int = 500) -> Structure:
    coords = np.array([[0, 0, 0], [1.5, 0, 0], [0, 1.5, 0], [0, 0, 1.5]]) + np.array(at)
    return structure_of(coords.tolist(), ["C1", "C2", "C3", "C4"], ["LIG"] * 4, [number] * 4, ["A"] * 4)


def test_a_ligand_keeps_its_geometry_and_follows_the_chain_beside_it(rng: np.random.Generator) -> None:
    near, far = chain_of(12, "A"), chain_of(12, "B", at=(0.0, 60.0, 0.0))
    model = join(near, far, ligand((15.0, 6.0, 0.0)))
    ca_new = model.ca_trace().coords.copy()
    ca_new[:12] += [0.0, 0.0, 7.0]  # the chain beside it moves, the other stays
    moved = carry(model, ca_new)
    np.testing.assert_allclose(moved[-4:] - model.coords[-4:], np.tile([0.0, 0.0, 7.0], (4, 1)), atol=0.01)
    bent = carry(model, ca_new + rng.normal(scale=0.5, size=ca_new.shape))
    assert superposed_rmsd(bent[-4:], model.coords[-4:]) < 1e-12


def test_chains_in_contact_do_not_drag_each_other() -> None:
    model = join(chain_of(12, "A"), chain_of(12, "B", at=(0.0, 5.0, 0.0)))
    ca_new = model.ca_trace().coords.copy()
    ca_new[:12] = (ca_new[:12] - [20, 0, 0]) @ rotation_of_vector([0.0, 0.5, 0.0]).T + [20, 0, 0]
    moved = carry(model, ca_new)
    still = model.chain == "B"
    # The pull to the motion of the whole is what remains.
    np.testing.assert_allclose(moved[still], model.coords[still], atol=0.01)
    assert superposed_rmsd(moved[~still], model.coords[~still]) < 0.01


def test_peptide_units_stay_rigid_and_bonds_to_ca_share_the_strain(rng: np.random.Generator) -> None:
    model = chain_of(30)
    ca = model.ca_trace().coords
    ca_new = ca + 4.0 * np.sin(ca[:, :1] / 20.0 + np.array([0.0, 1.0, 2.0])) + rng.normal(scale=0.1, size=ca.shape)
    moved = carry(model, ca_new)
    carbon, oxygen = (np.flatnonzero(model.atom_name == name)[:-1] for name in ("C", "O"))
    nitrogen = np.flatnonzero(model.atom_name == "N")[1:]
    for a, b in ((carbon, nitrogen), (oxygen, nitrogen), (carbon, oxygen)):
        before = np.linalg.norm(model.coords[a] - model.coords[b], axis=1)
        np.testing.assert_allclose(np.linalg.norm(moved[a] - moved[b], axis=1), before, atol=1e-9)
    alpha, beta = (np.flatnonzero(model.atom_name == name) for name in ("CA", "CB"))
    np.testing.assert_allclose(
        np.linalg.norm(moved[alpha] - moved[beta], axis=1),
        np.linalg.norm(model.coords[alpha] - model.coords[beta], axis=1),
        atol=1e-9,
    )
    strain = np.abs(np.diff(np.linalg.norm(np.diff(ca_new, axis=0), axis=1))).max()
    to_ca = np.linalg.norm(moved[alpha[:-1]] - moved[carbon], axis=1)
    was = np.linalg.norm(model.coords[alpha[:-1]] - model.coords[carbon], axis=1)
    assert np.abs(to_ca - was).max() < strain


def test_a_chain_break_is_not_bridged() -> None:
    model = join(chain_of(10), chain_of(10, at=(60.0, 0.0, 0.0)))
    ca_new = model.ca_trace().coords.copy()
    ca_new[10:] += [0.0, 9.0, 0.0]
    moved = carry(model, ca_new)
    last_carbon = 9 * 5 + 3
    assert np.linalg.norm(moved[last_carbon] - model.coords[last_carbon]) < 1.0


@pytest.mark.parametrize("n_residues", [1, 2, 3])
def test_traces_too_short_to_define_a_rotation_are_shifted(n_residues: int) -> None:
    model = chain_of(n_residues)
    shift = np.array([1.0, -2.0, 3.0])
    np.testing.assert_allclose(carry(model, model.ca_trace().coords + shift), model.coords + shift, atol=1e-9)


def test_a_ca_model_is_the_trace_itself(rng: np.random.Generator) -> None:
    model = chain_of(20).ca_trace()
    ca_new = rng.normal(scale=30.0, size=(20, 3))
    np.testing.assert_array_equal(carry(model, ca_new), ca_new)


def test_collapsed_traces_give_finite_positions() -> None:
    model = chain_of(10)
    assert np.isfinite(carry(model, np.zeros((10, 3)))).all()


def test_one_carrier_serves_many_traces_and_changes_nothing(rng: np.random.Generator) -> None:
    model = chain_of(15)
    carrier = make_carrier(model)
    before = model.coords.copy()
    ca_new = model.ca_trace().coords + rng.normal(size=(15, 3))
    first = carrier.carry(ca_new)
    carrier.carry(2.0 * ca_new)
    np.testing.assert_array_equal(carrier.carry(ca_new), first)
    np.testing.assert_array_equal(model.coords, before)


def test_wrong_traces_are_refused() -> None:
    model = chain_of(5)
    with pytest.raises(InputError, match=r"expected 5 finite positions, shape \(5, 3\), got shape \(4, 3\)"):
        carry(model, np.zeros((4, 3)))
    with pytest.raises(InputError, match="15 values not finite"):
        carry(model, np.full((5, 3), np.nan))
    with pytest.raises(InputError, match="no CA atom"):
        carry(ligand((0.0, 0.0, 0.0)), np.zeros((0, 3)))
