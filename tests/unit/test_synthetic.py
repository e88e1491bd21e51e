"""The generated proteins have ideal geometry, the shape of a protein, and the motion they claim."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial import cKDTree

from bayesflex import synthetic
from bayesflex.errors import InputError
from bayesflex.helix_bundle import is_clash_free
from bayesflex.ideal_backbone import close_loop, dihedral, helix, is_allowed, oxygen_and_beta, phi_psi, place_atom
from bayesflex.structure import Structure


def backbone(structure: Structure) -> np.ndarray:
    """N, CA, C of each residue, shape (n_residues, 3, 3)."""
    return np.stack([structure.coords[structure.atom_name == name] for name in ("N", "CA", "C")], axis=1)


def angle(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Angle a-b-c in degrees."""
    u, v = a - b, c - b
    cosine = np.sum(u * v, axis=-1) / np.linalg.norm(u, axis=-1) / np.linalg.norm(v, axis=-1)
    return np.degrees(np.arccos(cosine))


def rotation_between(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, float]:
    """Least-squares rotation of points onto others, and the RMSD that remains."""
    start, end = start - start.mean(axis=0), end - end.mean(axis=0)
    u, _, vt = np.linalg.svd(start.T @ end)
    rotation = (u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt).T
    return rotation, math.sqrt(np.mean(np.sum((start @ rotation.T - end) ** 2, axis=1)))


@pytest.fixture(scope="module")
def pair() -> tuple[Structure, Structure]:
    return synthetic.two_domain_pair(200)


@pytest.mark.parametrize("state", [0, 1])
def test_bond_lengths_and_angles_are_ideal(pair, state):
    chain = backbone(pair[state])
    n, ca, c = chain[:, 0], chain[:, 1], chain[:, 2]
    lengths = [np.linalg.norm(b - a, axis=1) for a, b in ((n, ca), (ca, c), (c[:-1], n[1:]))]
    for length, expected in zip(lengths, (1.458, 1.525, 1.329), strict=True):
        np.testing.assert_allclose(length, expected, atol=1e-5)
    for measured, expected in (
        (angle(n, ca, c), 111.2),
        (angle(ca[:-1], c[:-1], n[1:]), 116.2),
        (angle(c[:-1], n[1:], ca[1:]), 121.7),
    ):
        np.testing.assert_allclose(measured, expected, atol=1e-3)
    omega = np.degrees(dihedral(ca[:-1], c[:-1], n[1:], ca[1:]))
    np.testing.assert_allclose(np.abs(omega), 180.0, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(np.diff(ca, axis=0), axis=1), 3.8, atol=0.01)


@pytest.mark.parametrize("state", [0, 1])
def test_torsions_are_allowed_and_nothing_clashes(pair, state):
    chain = backbone(pair[state])
    assert is_allowed(phi_psi(chain)).all()
    assert is_clash_free(chain)


def test_side_chains_are_of_l_amino_acids_and_oxygens_lie_in_the_peptide_plane(pair):
    closed = pair[0]
    chain = backbone(closed)
    oxygen = closed.coords[closed.atom_name == "O"]
    n, ca, c = chain[:, 0], chain[:, 1], chain[:, 2]
    out_of_plane = dihedral(ca[:-1], n[1:], c[:-1], oxygen[:-1])
    np.testing.assert_allclose(np.abs(np.degrees(out_of_plane)), 180.0, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(oxygen - c, axis=1), 1.231, atol=1e-6)
    has_beta = closed.residue_name[closed.is_ca] != "GLY"
    beta = closed.coords[closed.atom_name == "CB"]
    assert len(beta) == has_beta.sum() < 200
    # Seen with the H atom towards the eye, CO, R and N of an L amino acid follow each other clockwise.
    handedness = np.sum(np.cross(n - ca, c - ca)[has_beta] * (beta - ca[has_beta]), axis=1)
    assert (handedness > 0).all()
    np.testing.assert_allclose(angle(beta, ca[has_beta], c[has_beta]), 110.1, atol=1.0)


def test_the_pair_differs_by_several_angstrom_in_one_frame(pair):
    closed, opened = pair
    assert (closed.atom_name == opened.atom_name).all()
    assert (closed.residue_name == opened.residue_name).all()
    shift = opened.coords[opened.is_ca] - closed.coords[closed.is_ca]
    assert 6.0 < math.sqrt(np.mean(np.sum(shift**2, axis=1))) < 8.0
    np.testing.assert_allclose(closed.coords[closed.is_ca].mean(axis=0), 0.0, atol=1e-9)


def test_the_first_domain_stays_but_for_the_changed_loop(pair):
    closed, opened = (structure.coords[structure.is_ca] for structure in pair)
    layout = synthetic.two_domain_layout(200)
    moved = np.linalg.norm(opened - closed, axis=1) > 1e-9
    expected = np.zeros(200, dtype=bool)
    expected[layout.changed] = True
    np.testing.assert_array_equal(moved[layout.first_domain], expected[layout.first_domain])
    shift = (opened - closed)[layout.changed]
    assert 2.0 <= math.sqrt(np.mean(np.sum(shift**2, axis=1))) <= 4.0


@pytest.mark.parametrize("opening", [10.0, 30.0, 60.0])
def test_the_second_domain_turns_by_the_opening_as_one(opening):
    closed, opened = (
        synthetic.two_domain_protein(200, angle).ca_trace().coords[synthetic.two_domain_layout(200).second_domain]
        for angle in (0.0, opening)
    )
    rotation, rmsd = rotation_between(closed, opened)
    assert rmsd < 1e-4
    assert math.degrees(math.acos(0.5 * (np.trace(rotation) - 1.0))) == pytest.approx(opening, abs=1e-4)


def test_opening_moves_the_domains_apart():
    layout = synthetic.two_domain_layout(200)

    def separation(opening: float) -> float:
        ca = synthetic.two_domain_protein(200, opening).ca_trace().coords
        return float(np.linalg.norm(ca[layout.first_domain].mean(axis=0) - ca[layout.second_domain].mean(axis=0)))

    assert separation(0.0) < separation(20.0) < separation(60.0)


def test_an_elastic_network_is_connected_and_has_the_opening_among_its_lowest_modes(pair):
    closed, opened = (structure.ca_trace().coords for structure in pair)
    n = len(closed)
    hessian = np.zeros((n, 3, n, 3))
    for i, j in cKDTree(closed).query_pairs(10.0):
        axis = closed[j] - closed[i]
        block = np.outer(axis, axis) / (axis @ axis)
        hessian[i, :, i] += block
        hessian[j, :, j] += block
        hessian[i, :, j] -= block
        hessian[j, :, i] -= block
    values, vectors = np.linalg.eigh(hessian.reshape(3 * n, 3 * n))
    assert values[5] < 1e-8 < 1e-3 < values[6]
    rotation, _ = rotation_between(opened, closed)
    shift = (opened - opened.mean(axis=0)) @ rotation.T - (closed - closed.mean(axis=0))
    overlap = vectors[:, 6:16].T @ shift.ravel() / np.linalg.norm(shift)
    assert np.abs(overlap[:3]).max() > 0.8
    # The changed loop is what the lowest modes cannot give.
    assert np.sum(overlap**2) < 0.99


def test_names_and_sequence(pair):
    closed = pair[0]
    assert closed.n_residues == 200
    assert set(closed.chain) == {"A"}
    assert closed.residue_name[0] == "MET"
    assert len(set(closed.residue_name)) > 10
    helical = np.degrees(phi_psi(backbone(closed)))
    in_helix = np.all(np.abs(helical - [-63.0, -43.0]) < 1.0, axis=1).mean()
    assert 0.5 < in_helix < 0.8


def test_the_same_arguments_give_the_same_atoms():
    synthetic.two_domain_backbone.cache_clear()
    first = synthetic.two_domain_protein(60, 20.0).coords
    synthetic.two_domain_backbone.cache_clear()
    np.testing.assert_array_equal(first, synthetic.two_domain_protein(60, 20.0).coords)


def test_a_caller_cannot_change_the_next_caller_s_protein():
    first = synthetic.two_domain_protein(60, 0.0, changed_loop=True)
    kept = first.coords.copy()
    first.coords[:] = 0.0
    np.testing.assert_array_equal(synthetic.two_domain_protein(60, 0.0, changed_loop=True).coords, kept)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((51,), "at least 52"), ((200, -1.0), "0 \\(closed\\) to 60"), ((200, 61.0), "61"), ((200, math.nan), "nan")],
)
def test_proteins_that_cannot_be_made(arguments, message):
    with pytest.raises(InputError, match=message):
        synthetic.two_domain_protein(*arguments)


@pytest.mark.parametrize("opening", [0.0, 30.0])
def test_a_hexamer_is_six_fold_connected_and_free_of_clashes(opening):
    ring = synthetic.hexamer(200, opening).ca_trace()
    assert ring.n_atoms == 1200
    assert "".join(ring.chain[::200]) == "ABCDEF"
    half = math.sqrt(0.75)
    turn = np.array([[0.5, -half, 0.0], [half, 0.5, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(ring.coords[:1000] @ turn.T, ring.coords[200:], atol=1e-9)
    first, rest = ring.coords[:200], ring.coords[200:]
    nearest = cKDTree(rest).query(first)[0].min()
    assert 5.0 < nearest < 7.0


@pytest.mark.parametrize("n_ca", [1, 250, 4368, 35000])
def test_an_assembly_has_the_beads_asked_for_at_protein_density(n_ca):
    model = synthetic.assembly(n_ca)
    assert model.n_atoms == n_ca
    assert model.is_ca.all()
    if n_ca < 2:
        return
    consecutive = (model.chain[1:] == model.chain[:-1]) & (model.residue_number[1:] == model.residue_number[:-1] + 1)
    bonds = np.linalg.norm(np.diff(model.coords, axis=0), axis=1)
    np.testing.assert_allclose(bonds[consecutive], 3.8, atol=0.01)
    pairs = cKDTree(model.coords).query_pairs(10.0, output_type="ndarray")
    assert 14.0 < 2.0 * len(pairs) / n_ca < 22.0
    apart = pairs[np.abs(pairs[:, 1] - pairs[:, 0]) > 2]
    assert np.linalg.norm(model.coords[apart[:, 0]] - model.coords[apart[:, 1]], axis=1).min() > 4.0


def test_a_million_beads_have_distinct_chains_within_a_cube():
    model = synthetic.assembly(1_000_000)
    assert model.n_atoms == 1_000_000
    starts = np.flatnonzero(model.residue_number == 1)
    assert len(set(model.chain[starts])) == len(starts)
    extent = np.ptp(model.coords, axis=0)
    assert extent.max() < 1.5 * extent.min()


@pytest.mark.parametrize("n_ca", [0, -5])
def test_an_assembly_of_nothing(n_ca):
    with pytest.raises(InputError, match="at least 1"):
        synthetic.assembly(n_ca)


def test_helices_rise_and_turn_as_alpha_helices_and_bond_four_residues_on():
    chain = helix(0, 12, 12, phase=0.4)
    np.testing.assert_allclose(np.degrees(phi_psi(chain)), np.tile([-63.0, -43.0], (10, 1)), atol=1e-6)
    assert np.diff(chain[:, 1, 2]).mean() == pytest.approx(1.5, abs=0.05)
    turn = np.diff(np.unwrap(np.arctan2(chain[:, 1, 1], chain[:, 1, 0])))
    np.testing.assert_allclose(np.degrees(turn), 100.0, atol=3.0)
    assert chain[:, 1, 2].mean() == pytest.approx(0.0, abs=1e-9)
    oxygen, _ = oxygen_and_beta(chain)
    distance = np.linalg.norm(oxygen[:-4] - chain[4:, 0], axis=1)
    assert (distance > 2.8).all()
    assert (distance < 3.2).all()


def test_a_placed_atom_has_the_bond_angle_and_torsion_asked_for(rng):
    a, b, c = rng.normal(size=(3, 20, 3))
    torsion = rng.uniform(-3.0, 3.0, size=20)
    d = place_atom(a, b, c, 1.4, math.radians(115.0), torsion)
    np.testing.assert_allclose(np.linalg.norm(d - c, axis=1), 1.4)
    np.testing.assert_allclose(angle(b, c, d), 115.0)
    np.testing.assert_allclose(dihedral(a, b, c, d), torsion)


def test_a_gap_no_loop_can_span_gives_none(rng):
    one = helix(0, 8, 8, 0.0)
    assert close_loop(rng, one[-1], one[0] + [60.0, 0.0, 0.0], 4, one[:-1].reshape(-1, 3), n_starts=20) == []
