"""Beads that ride on the CA trace: what they are made of, where they are placed, how gradients come back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesflex.beads import N_CLASSES, BeadModel, ca_beads
from bayesflex.errors import ConfigError
from bayesflex.geometry import rotation_of_vector
from bayesflex.residue_beads import centroid_beads, make_beads, part_beads
from bayesflex.structure import Structure
from bayesflex.synthetic import two_domain_protein
from gradients.directional import check_gradient
from gradients.test_energy_gradients import trace

PROTEIN = two_domain_protein(120)
CA = PROTEIN.ca_trace()
MAKERS = {"centroid": centroid_beads, "parts": part_beads}
#: f(0), Å, of Peng et al. (1996), table 1.
LENGTHS = {"C": 2.5088, "N": 2.2135, "O": 1.9834}


def centroids(structure: Structure, names=None) -> np.ndarray:
    """Centroid of the atoms of each residue, weighted by scattering length; of these atom names where given."""
    out = []
    for residue in range(structure.n_residues):
        atoms = structure.select(structure.residue_index == residue)
        keep = np.ones(atoms.n_atoms, bool) if names is None else np.isin(atoms.atom_name, names)
        if keep.any():
            weight = [LENGTHS[element] for element in atoms.element[keep]]
            out.append(np.average(atoms.coords[keep], axis=0, weights=weight))
    return np.array(out)


def joined(*parts: Structure) -> Structure:
    """The atoms of all parts, in their order."""
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in Structure.__dataclass_fields__
        if isinstance(getattr(parts[0], name), np.ndarray)
    }
    return Structure(**columns)


def test_unit_beads_are_the_trace_itself(rng):
    beads = ca_beads(CA)
    gradient = rng.normal(size=CA.coords.shape)
    assert beads.on_ca
    np.testing.assert_array_equal(beads.place(CA.coords), CA.coords)
    np.testing.assert_array_equal(beads.pull_back(CA.coords, gradient), gradient)
    np.testing.assert_array_equal(beads.weights, 1.0)
    assert beads.spread == 0.0
    likelihood = object()
    assert beads.attach(likelihood) is likelihood


def test_centroids_of_the_start_are_reproduced():
    beads = centroid_beads(PROTEIN, CA)
    assert len(beads.residue) == CA.n_atoms
    np.testing.assert_allclose(beads.place(CA.coords), centroids(PROTEIN), atol=1e-6)


def backbones_first(beads: BeadModel, n_beads: int) -> np.ndarray:
    """The first bead of each residue, which is its backbone, where each has so many, and glycine one."""
    counts = np.bincount(beads.residue, minlength=CA.n_atoms)
    np.testing.assert_array_equal(counts, np.where(CA.residue_name == "GLY", 1, n_beads))
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    backbones = centroids(PROTEIN, ["N", "CA", "C", "O"])
    np.testing.assert_allclose(beads.place(CA.coords)[first], backbones, atol=1e-6)
    return first


def test_parts_are_backbone_and_side_chain():
    beads = part_beads(PROTEIN, CA)
    placed = beads.place(CA.coords)
    first = backbones_first(beads, 2)
    long = CA.residue_name != "GLY"
    np.testing.assert_allclose(placed[first[long] + 1], centroids(PROTEIN, ["CB"]), atol=1e-6)


@pytest.mark.parametrize("maker", MAKERS)
def test_weights_are_one_per_residue_and_spread_is_that_of_the_atoms(maker):
    beads = MAKERS[maker](PROTEIN, CA)
    assert beads.weights.sum() == pytest.approx(CA.n_atoms)
    per_residue = np.bincount(beads.residue, beads.weights)
    heavy = np.bincount(PROTEIN.residue_index, [LENGTHS[e] for e in PROTEIN.element])
    np.testing.assert_allclose(per_residue / per_residue.sum(), heavy / heavy.sum(), rtol=1e-6)
    assert 0.3 < beads.spread < 1.5
    assert part_beads(PROTEIN, CA).spread < centroid_beads(PROTEIN, CA).spread


def lysines(structure: Structure) -> Structure:
    """All residues with a CB become lysine, its chain straight away from the backbone."""
    names, elements = ("CG", "CD", "CE", "NZ"), ("C", "C", "C", "N")
    at_cb = structure.atom_name == "CB"
    axis = structure.coords[at_cb] - structure.coords[structure.is_ca][structure.residue_index[at_cb]]
    more = []
    for k, (name, element) in enumerate(zip(names, elements, strict=True), start=1):
        atoms = structure.select(at_cb)
        full = {"atom_name": np.full(atoms.n_atoms, name), "element": np.full(atoms.n_atoms, element)}
        more.append(replace(atoms, coords=structure.coords[at_cb] + 0.8 * k * axis, **full))
    model = joined(structure, *more)
    return model.select(np.argsort(model.residue_number, kind="stable"))


def test_a_long_side_chain_is_several_compact_beads():
    model = lysines(PROTEIN)
    beads = part_beads(model, CA)
    placed = beads.place(CA.coords)
    first = backbones_first(beads, 3)
    long = CA.residue_name != "GLY"
    halves = np.stack([centroids(model, names) for names in (["CB", "CG"], ["CD", "CE", "NZ"])], axis=1)
    pair = np.stack([placed[first[long] + k] for k in (1, 2)], axis=1)
    nearer = np.linalg.norm(pair - CA.coords[long][:, None], axis=2).argsort(axis=1)
    np.testing.assert_allclose(np.take_along_axis(pair, nearer[:, :, None], axis=1), halves, atol=1e-6)
    assert beads.spread < 1.0
    np.testing.assert_allclose(beads.merged().place(CA.coords), centroid_beads(model, CA).place(CA.coords), atol=1e-9)


def test_hydrogens_do_not_count_and_other_residues_are_beads_of_their_own():
    extra = PROTEIN.select(np.arange(3))
    extra = Structure(
        **{
            **{name: getattr(extra, name) for name in Structure.__dataclass_fields__},
            "coords": extra.coords + 50.0,
            "element": np.array(["H", "ZN", "C"]),
            "residue_number": np.array([1, 900, 901]),
        }
    )
    placed = centroid_beads(joined(PROTEIN, extra), CA).place(CA.coords)
    np.testing.assert_array_equal(placed[:-2], centroid_beads(PROTEIN, CA).place(CA.coords))
    np.testing.assert_allclose(placed[-2:], extra.coords[1:])


@pytest.mark.parametrize("maker", MAKERS)
def test_pull_back_is_the_gradient_of_what_is_placed(maker, rng):
    beads = MAKERS[maker](PROTEIN, CA)
    ca = CA.coords + rng.normal(scale=0.5, size=CA.coords.shape)
    direction = rng.normal(size=(len(beads.residue), 3))
    check_gradient(
        lambda x: float(np.sum(direction * beads.place(x))), ca, beads.pull_back(ca, direction), rng, rtol=1e-9
    )


@given(
    omega=st.tuples(*[st.floats(-2.0, 2.0)] * 3),
    shift=st.tuples(*[st.floats(-100.0, 100.0)] * 3),
    maker=st.sampled_from(sorted(MAKERS)),
)
def test_beads_turn_and_move_with_the_trace(omega, shift, maker):
    beads, rotation = MAKERS[maker](PROTEIN, CA), rotation_of_vector(omega)
    ca = CA.coords + np.random.default_rng(3).normal(scale=0.3, size=CA.coords.shape)
    np.testing.assert_allclose(beads.place(ca @ rotation.T + shift), beads.place(ca) @ rotation.T + shift, atol=1e-9)


def test_frames_stay_within_their_chain():
    """Two chains of 5 and a chain broken after its third residue: no frame reaches across."""
    coords = np.array([[3.8 * k, 2.0 * (k % 2), 0.3 * k] for k in range(5)])
    broken = coords + [0.0, 60.0, 0.0]
    broken[3:] += [20.0, 0.0, 0.0]
    model = two_chains = trace(np.concatenate([coords, broken]))
    model = Structure(
        **{
            **{name: getattr(two_chains, name) for name in Structure.__dataclass_fields__},
            "chain": np.repeat(["A", "B"], 5),
        }
    )
    centre = np.random.default_rng(0).normal(size=(10, 3)) + model.coords
    atoms = {name: np.repeat(getattr(model, name), 2, axis=0) for name in Structure.__dataclass_fields__
             if isinstance(getattr(model, name), np.ndarray)}  # fmt: skip
    atoms["coords"][1::2] = 2.0 * centre - model.coords  # a carbon beside each CA
    atoms["atom_name"][1::2] = "CB"
    beads = centroid_beads(Structure(**atoms), model)
    expected = [[0, 1, 2], [0, 1, 2], [1, 2, 3], [2, 3, 4], [2, 3, 4]]  # chain A
    expected += [[5, 6, 7]] * 3  # three residues: one frame
    expected += [[8] * 3, [9] * 3]  # two are too few for a frame
    np.testing.assert_array_equal(beads.frame, expected)
    placed = beads.place(model.coords)
    np.testing.assert_allclose(placed[:8], centre[:8], atol=1e-9)
    # without a frame a bead sits on its CA
    np.testing.assert_array_equal(placed[8:], model.coords[8:])


@pytest.mark.parametrize("bend", [0.0, 0.02, 0.3])
def test_where_ca_are_in_line_a_bead_keeps_its_part_along_the_line(bend, rng):
    """It must not swing about when the CA jitter, as it would if it hung on a direction that means nothing."""
    coords = np.array([[0.0, 0.0, 0.0], [3.8, bend, 0.0], [7.6, 0.0, 0.0]])
    model = trace(coords)
    atoms = {name: np.repeat(getattr(model, name), 2, axis=0) for name in Structure.__dataclass_fields__
             if isinstance(getattr(model, name), np.ndarray)}  # fmt: skip
    atoms["coords"][1::2] += [1.0, 2.0, 2.0]
    atoms["atom_name"][1::2] = "CB"
    beads = centroid_beads(Structure(**atoms), model)
    placed = beads.place(coords)
    np.testing.assert_allclose(placed - coords, [[0.5, 0.0, 0.0]] * 3, atol=0.05)
    jitter = rng.normal(scale=0.2, size=coords.shape)
    assert np.abs(beads.place(coords + jitter) - placed).max() < 1.0


def test_names_of_the_configuration():
    assert make_beads("ca", PROTEIN, CA).on_ca
    assert len(make_beads("centroid", PROTEIN, CA).residue) == CA.n_atoms
    assert len(make_beads("parts", PROTEIN, CA).residue) > CA.n_atoms
    assert make_beads("parts", CA, CA).on_ca  # nothing but CA atoms
    with pytest.raises(ConfigError, match="expected ca, centroid or parts"):
        make_beads("two", PROTEIN, CA)


class Quadratic:
    """log L = -|beads|² / 2; -inf where a bead is beyond the edge."""

    name = "quadratic"

    def __init__(self, edge=1e9):
        self.edge = edge

    def clone(self):
        return Quadratic(self.edge)

    def log_likelihood_and_gradient(self, coords):
        if np.abs(coords).max() > self.edge:
            return -np.inf, np.full_like(coords, np.nan)
        return -0.5 * float(np.sum(coords**2)), -coords


@pytest.mark.parametrize("maker", MAKERS)
def test_a_likelihood_of_beads_becomes_one_of_the_trace(maker, rng):
    beads: BeadModel = MAKERS[maker](PROTEIN, CA)
    likelihood = beads.attach(Quadratic()).clone()
    assert likelihood.name == "quadratic"
    ca = CA.coords + rng.normal(scale=0.2, size=CA.coords.shape)
    value, gradient = likelihood.log_likelihood_and_gradient(ca)
    assert value == pytest.approx(-0.5 * np.sum(beads.place(ca) ** 2))
    check_gradient(lambda x: likelihood.log_likelihood_and_gradient(x)[0], ca, gradient, rng)
    value, gradient = beads.attach(Quadratic(edge=1.0)).log_likelihood_and_gradient(ca)
    assert value == -np.inf
    np.testing.assert_array_equal(gradient, np.zeros_like(ca))


def test_merged_beads_sit_at_the_centroids_and_weigh_the_same():
    two = make_beads("parts", PROTEIN, CA)
    one, centroid = two.merged(), make_beads("centroid", PROTEIN, CA)
    np.testing.assert_array_equal(one.residue, centroid.residue)
    np.testing.assert_allclose(one.weights, centroid.weights)
    moved = CA.coords + np.random.default_rng(1).normal(scale=0.5, size=CA.coords.shape)
    for ca in (CA.coords, moved):
        np.testing.assert_allclose(one.place(ca), centroid.place(ca), atol=1e-9)
    assert centroid.merged() is centroid


@pytest.mark.parametrize("name", ["ca", "centroid", "parts"])
def test_b_factors_widen_beads(name):
    b = np.where(PROTEIN.residue_index < 30, 20.0, 100.0)
    structure = replace(PROTEIN, b_factor=b)
    beads = make_beads(name, structure, structure.ca_trace(), b_factors=True)
    late = beads.residue >= 30
    np.testing.assert_allclose(beads.blur[~late], 0.0)
    np.testing.assert_allclose(beads.blur[late] ** 2 * 8.0 * np.pi**2, 80.0)
    kind, blur = beads.classes
    assert len(blur) == 2
    np.testing.assert_allclose(blur[kind], beads.blur)
    assert make_beads(name, structure, structure.ca_trace()).classes is None


def test_side_chains_have_their_own_b_factors():
    side = ~np.isin(PROTEIN.atom_name, ["N", "CA", "C", "O", "OXT"])
    structure = replace(PROTEIN, b_factor=np.where(side, 60.0, 10.0))
    beads = make_beads("parts", structure, CA, b_factors=True)
    second = np.r_[False, beads.residue[1:] == beads.residue[:-1]]
    np.testing.assert_allclose(beads.blur[second] ** 2 * 8.0 * np.pi**2, 50.0)
    np.testing.assert_allclose(beads.blur[~second], 0.0)


def test_many_b_factors_make_few_classes():
    structure = replace(PROTEIN, b_factor=np.linspace(10.0, 90.0, PROTEIN.n_atoms))
    kind, blur = make_beads("parts", structure, CA, b_factors=True).classes
    assert len(blur) == N_CLASSES
    assert (np.diff(blur) > 0.0).all()
    assert set(kind) == set(range(N_CLASSES))


@pytest.mark.parametrize("maker", MAKERS)
def test_a_large_ligand_is_several_compact_beads(maker):
    n = 24
    rod = CA.coords[10] + [2.0, 0.0, 0.0] + np.arange(float(n))[:, None] * [0.0, 0.8, 0.8]
    ligand = replace(
        PROTEIN.select(np.arange(n)),
        coords=rod,
        element=np.full(n, "C"),
        residue_name=np.full(n, "LIG"),
        residue_number=np.full(n, 900),
    )
    alone, beads = MAKERS[maker](PROTEIN, CA), MAKERS[maker](joined(PROTEIN, ligand), CA)
    own = len(alone.residue)
    assert beads.n_others == len(beads.residue) - own == 4
    np.testing.assert_array_equal(beads.coefficients[:own], alone.coefficients)
    # Each holds six neighbours along the rod.
    pieces = beads.place(CA.coords)[own:]
    np.testing.assert_allclose(np.sort(pieces[:, 1]), rod[:, 1].reshape(4, 6).mean(axis=1), atol=1e-9)
    assert beads.weights[own:].sum() / beads.weights[:own].sum() == pytest.approx(
        2.5088 * n / sum(LENGTHS[element] for element in PROTEIN.element)
    )
