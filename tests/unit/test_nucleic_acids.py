"""Nucleic acids, ligands and ions: what stands for them, what they scatter, what holds them, what carries them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bayesflex.carrying import carry
from bayesflex.chain import bonded_to_next
from bayesflex.config import FitConfig
from bayesflex.energy import build_prior
from bayesflex.energy.contacts import NativeContacts
from bayesflex.errors import InputError
from bayesflex.geometry import rotation_of_vector, superposed_rmsd
from bayesflex.ligand_density import ligands_not_in_map
from bayesflex.matching import match_residues
from bayesflex.normal_modes import normal_modes, structure_modes
from bayesflex.residue_beads import make_beads
from bayesflex.scattering import scattering_lengths
from bayesflex.structure import Structure
from bayesflex.synthetic import two_domain_protein
from bayesflex.validation.model_map import is_bare_trace
from bayesflex.workflows.preparation import Inputs, prepare
from bayesflex.workflows.simulate import simulate
from gradients.directional import check_gradient

# A nucleotide of B-DNA about the z axis: radius (Å), angle (degrees), height (Å); the next one is turned by 36 degrees
# and 3.38 Å higher, and its P is 1.7 Å from this one's O3'.
NUCLEOTIDE = {
    "P": (8.91, 94.0, 2.1),
    "O5'": (7.73, 88.0, 1.9),
    "C4'": (8.2, 70.0, 1.5),
    "O3'": (8.9, 121.0, 4.6),
    "C1'": (5.86, 66.0, 0.3),
    "N1": (2.5, 60.0, 0.1),
}
SEQUENCE = "GATTACAGCTTGCCAT"
COLUMNS = ["coords", "element", "atom_name", "residue_name", "residue_number", "insertion_code", "chain"]
COLUMNS += ["occupancy", "b_factor", "is_hetero"]
PAIR = {"A": "T", "C": "G", "G": "C", "T": "A"}
PROTEIN = two_domain_protein(60)


def structure_of(coords, names, residues, numbers, chains, hetero=False) -> Structure:
    n = len(names)
    return Structure(
        coords=np.array(coords, dtype=float).reshape(-1, 3),
        element=np.array([name[0] for name in names]),
        atom_name=np.array(names),
        residue_name=np.array(residues),
        residue_number=np.array(numbers, dtype=np.int64),
        insertion_code=np.full(n, ""),
        chain=np.array(chains),
        occupancy=np.ones(n),
        b_factor=np.zeros(n),
        is_hetero=np.full(n, hetero),
        is_ligand=np.full(n, hetero),
    )


def duplex(sequence: str = SEQUENCE) -> Structure:
    """A double helix, its second strand by the two-fold axis along x."""
    coords, names, residues, numbers, chains = [], [], [], [], []
    n = len(sequence)
    for chain in "DE":
        for k in range(n):
            level = k if chain == "D" else n - 1 - k
            base = sequence[k] if chain == "D" else PAIR[sequence[level]]
            for name, (radius, degrees, height) in NUCLEOTIDE.items():
                sign = 1.0 if chain == "D" else -1.0
                angle = np.radians(sign * degrees + 36.0 * level)
                coords.append([radius * np.cos(angle), radius * np.sin(angle), sign * height + 3.38 * level])
                names.append(name)
                residues.append("D" + base)
                numbers.append(k + 1)
                chains.append(chain)
    return structure_of(coords, names, residues, numbers, chains)


def ligand(at, names=("C1", "C2", "O3", "N4"), residue="LIG", number=500) -> Structure:
    coords = 1.5 * np.vstack([np.zeros(3), np.eye(3)])[: len(names)] + np.asarray(at)
    return structure_of(coords, list(names), [residue] * len(names), [number] * len(names), ["L"] * len(names), True)


def join(*parts: Structure) -> Structure:
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
    flags = [np.zeros(part.n_atoms, dtype=bool) if part.is_ligand is None else part.is_ligand for part in parts]
    return Structure(**columns, is_ligand=np.concatenate(flags))


NITROGEN = scattering_lengths(np.array(["N"]))[0]
DNA = duplex()
TRACE = DNA.trace()


def far_protein(shift) -> Structure:
    return PROTEIN.with_coords(PROTEIN.coords - PROTEIN.coords.mean(axis=0) + np.asarray(shift))


def test_one_site_per_residue():
    model = join(PROTEIN, DNA, ligand((0.0, 0.0, 50.0), names=("C4'", "CA")))
    trace = model.trace()
    assert trace.n_atoms == 60 + 2 * len(SEQUENCE)
    assert np.count_nonzero(trace.is_nucleotide_site) == 2 * len(SEQUENCE)
    assert model.ca_trace().n_atoms == 60
    old = replace(DNA, atom_name=np.char.replace(DNA.atom_name, "'", "*"))
    np.testing.assert_array_equal(old.trace().coords, TRACE.coords)


def test_without_knowledge_of_polymers_a_hetero_nucleotide_is_a_ligand():
    model = replace(DNA, is_ligand=None, is_hetero=DNA.chain == "E")
    assert set(model.trace().chain) == {"D"}


def test_a_model_without_sites_is_refused():
    with pytest.raises(InputError, match=r"no CA atom and no C4' found among 32 atoms; .*Give a model that contains"):
        DNA.select(DNA.atom_name == "P").trace()


def test_nucleotides_break_by_their_own_distance():
    bonded = bonded_to_next(TRACE)
    np.testing.assert_array_equal(np.flatnonzero(~bonded), [len(SEQUENCE) - 1])
    apart = TRACE.coords.copy()
    apart[5:] += [0.0, 0.0, 4.0]
    assert not bonded_to_next(TRACE.with_coords(apart))[4]
    amino = replace(TRACE, atom_name=np.full(TRACE.n_atoms, "CA"))
    assert not bonded_to_next(amino).any()
    mixed = np.where(np.arange(TRACE.n_atoms) % 2 == 0, "CA", "C4'")
    assert not bonded_to_next(replace(TRACE.with_coords(0.5 * TRACE.coords), atom_name=mixed)).any()


def test_a_nucleotide_is_a_backbone_in_parts_and_a_base():
    beads = make_beads("parts", DNA, TRACE)
    assert beads.n_others == 0
    placed = beads.place(TRACE.coords)
    last = np.append(np.flatnonzero(np.diff(beads.residue)), len(beads.residue) - 1)
    np.testing.assert_array_equal(beads.residue[last], np.arange(TRACE.n_atoms))
    np.testing.assert_allclose(placed[last], DNA.coords[DNA.atom_name == "N1"], atol=1e-9)
    first = DNA.select(DNA.residue_index == 0)
    backbone = first.atom_name != "N1"
    lengths = scattering_lengths(first.element[backbone])
    parts = np.arange(last[0])
    assert len(parts) > 1
    centre = np.average(placed[parts], axis=0, weights=beads.weights[parts])
    np.testing.assert_allclose(centre, np.average(first.coords[backbone], axis=0, weights=lengths), atol=1e-9)
    assert beads.weights[parts].sum() / beads.weights[last[0]] == pytest.approx(lengths.sum() / NITROGEN)
    one = make_beads("centroid", DNA, TRACE)
    np.testing.assert_allclose(beads.merged().place(TRACE.coords), one.place(TRACE.coords), atol=1e-9)
    assert make_beads("ca", DNA, TRACE).on_ca


def test_weights_are_in_units_of_an_amino_acid():
    alone = make_beads("parts", PROTEIN, PROTEIN.trace())
    model = join(PROTEIN, DNA, ligand((20.0, 0.0, 0.0)))
    beads = make_beads("parts", model, model.trace())
    n = len(alone.residue)
    np.testing.assert_array_equal(beads.weights[:n], alone.weights)
    np.testing.assert_array_equal(beads.coefficients[:n], alone.coefficients)
    base = np.flatnonzero(beads.residue == 60)[-1]
    of_ligand = scattering_lengths(np.array(["C", "C", "O", "N"])).sum()
    assert beads.weights[-1] / beads.weights[base] == pytest.approx(of_ligand / NITROGEN)
    # Without amino acids the unit is an average one, of 18.55 Å: a base here is a single nitrogen.
    alone = make_beads("parts", DNA, TRACE)
    assert alone.weights[np.flatnonzero(alone.residue == 0)[-1]] == pytest.approx(NITROGEN / 18.55)


def test_ligands_and_ions_scatter_and_ride_and_water_does_not():
    near, above = PROTEIN.coords[PROTEIN.is_ca][[20, 40]] + [0.0, 3.0, 3.0]
    water = ligand(near + 2.0, names=("O",), residue="HOH", number=700)
    model = join(PROTEIN, ligand(near), ligand(above, names=("C1",), residue="CD", number=600), water)
    trace = model.trace()
    beads = make_beads("parts", model, trace)
    assert beads.n_others == 2
    rotation, shift = rotation_of_vector([0.3, -1.0, 0.4]), np.array([5.0, 6.0, 7.0])
    lengths = scattering_lengths(np.array(["C", "C", "O", "N"]))
    centre = np.average(model.coords[PROTEIN.n_atoms : PROTEIN.n_atoms + 4], axis=0, weights=lengths)
    expected = np.array([centre, above])
    np.testing.assert_allclose(beads.place(trace.coords)[-2:], expected, atol=1e-9)
    moved = beads.place(trace.coords @ rotation.T + shift)[-2:]
    np.testing.assert_allclose(moved, expected @ rotation.T + shift, atol=1e-9)
    merged = beads.merged()
    assert (merged.n_others, len(merged.residue)) == (2, 62)
    np.testing.assert_allclose(merged.place(trace.coords)[-2:], expected, atol=1e-9)
    assert make_beads("ca", model, trace).n_others == 0
    blurred = make_beads("parts", replace(model, b_factor=np.where(model.is_hetero, 80.0, 20.0)), trace, b_factors=True)
    np.testing.assert_allclose(blurred.blur[-2:] ** 2 * 8.0 * np.pi**2, 60.0)
    np.testing.assert_allclose(blurred.blur[:-2], 0.0)


def test_a_ligand_that_the_map_does_not_show_does_not_scatter():
    place = PROTEIN.coords.max(axis=0) + [2.0, -8.0, -8.0]
    model = join(PROTEIN, ligand(place), ligand(place + [0.0, 6.0, 0.0], names=("O",), residue="HOH", number=700))
    with_it, without = (simulate(part, resolution=5.0, box=48, voxel=1.5) for part in (model, PROTEIN))
    absent, names = ligands_not_in_map(model, with_it, 5.0)
    assert (absent.any(), names) == (False, ())
    absent, names = ligands_not_in_map(model, without, 5.0)
    assert names == ("LIG L 500",)
    np.testing.assert_array_equal(absent, model.residue_name == "LIG")
    said: list[str] = []
    config = FitConfig(resolution=5.0, deformation="local")
    assert prepare(Inputs(model, without), config, said.append).problem.beads.n_others == 0
    assert any("LIG L 500 do not scatter" in text for text in said)
    assert prepare(Inputs(model, with_it), config, said.append).problem.beads.n_others == 1


def test_gradients_of_beads_and_prior(rng):
    model = join(DNA, far_protein((20.0, 0.0, 25.0)), ligand((12.0, 0.0, 20.0)))
    trace = model.trace()
    coords = trace.coords + 0.3 * rng.normal(size=trace.coords.shape)
    beads = make_beads("parts", model, trace)
    pull = rng.normal(size=(len(beads.residue), 3))
    check_gradient(lambda x: float(np.sum(pull * beads.place(x))), coords, beads.pull_back(coords, pull), rng)
    for term in build_prior(trace, FitConfig(resolution=5.0)):
        energy, gradient = term.energy_and_gradient(coords)
        if term.name != "excluded_volume":
            assert energy > 0.0
        check_gradient(lambda x, term=term: term.energy_and_gradient(x)[0], coords, gradient, rng)
        assert term.energy_and_gradient(trace.coords)[0] == pytest.approx(0.0, abs=1e-9)


def test_bonds_of_nucleotides_are_softer():
    stretched = TRACE.coords * [1.0, 1.0, 1.02]
    bonds = next(term for term in build_prior(TRACE, FitConfig(resolution=5.0)) if term.name == "bonds")
    change = np.linalg.norm(np.diff(stretched, axis=0), axis=1) - np.linalg.norm(np.diff(TRACE.coords, axis=0), axis=1)
    expected = 4.0 * np.sum(change[bonded_to_next(TRACE)] ** 2)
    assert bonds.energy_and_gradient(stretched)[0] == pytest.approx(expected)


def test_base_pairs_are_contacts():
    contacts = NativeContacts(TRACE, 0.3, 10.0)
    start, partner = contacts.arrays.start, contacts.arrays.partner
    n = len(SEQUENCE)
    pairs = set(zip(np.repeat(np.arange(2 * n), np.diff(start)).tolist(), partner.tolist(), strict=True))
    assert all((k, 2 * n - 1 - k) in pairs for k in range(n))
    distance = np.linalg.norm(TRACE.coords[:, None] - TRACE.coords, axis=2)
    found = np.array(sorted(pairs))
    assert distance[found[:, 0], found[:, 1]].max() <= 18.0
    across = distance[:n, n:] <= 18.0
    assert np.count_nonzero((found[:, 0] < n) & (found[:, 1] >= n)) == np.count_nonzero(across)


def test_strands_and_the_proteins_that_they_join_are_one_network():
    modes = structure_modes(TRACE, 4, 10.0)
    assert modes.eigenvalues[0] > 1e-4
    with pytest.raises(InputError, match="elastic network"):
        normal_modes(TRACE.coords, 4, 10.0)
    model = join(
        far_protein((24.0, 0.0, 8.0)),
        DNA,
        replace(far_protein((-24.0, 0.0, 40.0)), chain=np.full(PROTEIN.n_atoms, "B")),
    )
    pair = model.trace()
    if np.linalg.norm(pair.coords[:60, None] - pair.coords[None, -60:], axis=2).min() < 12.0:
        pytest.fail("the two proteins touch: the case shows nothing")
    assert structure_modes(pair, 2, 10.0).n_beads == pair.n_atoms


def test_carrying_is_exact_at_the_start_and_under_rigid_motion():
    model = join(far_protein((20.0, 0.0, 25.0)), DNA, ligand((12.0, 0.0, 20.0)))
    sites = model.trace().coords
    np.testing.assert_allclose(carry(model, sites), model.coords, atol=1e-9)
    rotation = rotation_of_vector([1.0, 0.2, -0.7])
    np.testing.assert_allclose(carry(model, sites @ rotation.T + 9.0), model.coords @ rotation.T + 9.0, atol=1e-9)


def test_a_bent_duplex_keeps_its_bonds_and_pairs(rng):
    height = TRACE.coords[:, 2]
    bend = np.stack([4.0 * np.sin(height / 18.0), 3.0 * np.cos(height / 18.0), 0.0 * height], axis=1)
    sites = TRACE.coords + bend + 0.1 * rng.normal(size=bend.shape)
    moved = carry(DNA, sites)
    n = len(SEQUENCE)

    def lengths(coords, first, second, partner):
        a, b = (np.flatnonzero(DNA.atom_name == name) for name in (first, second))
        return np.linalg.norm(coords[a[: len(partner)]] - coords[b[partner]], axis=1)

    next_one = np.arange(1, n)
    np.testing.assert_allclose(
        lengths(moved, "O3'", "P", next_one), lengths(DNA.coords, "O3'", "P", next_one), atol=1e-9
    )
    paired = 2 * n - 1 - np.arange(n)
    change = lengths(moved, "C1'", "C1'", paired) - lengths(DNA.coords, "C1'", "C1'", paired)
    assert np.abs(change).max() < 0.8
    for residue in range(2 * n):
        body = (DNA.residue_index == residue) & np.isin(DNA.atom_name, ["C4'", "C1'", "N1"])
        assert superposed_rmsd(moved[body], DNA.coords[body]) < 1e-9
    np.testing.assert_array_equal(moved[DNA.is_site], sites)


def test_strands_are_matched_by_number_and_by_sequence():
    assert match_residues(TRACE, TRACE).method == "number"
    other = replace(TRACE, residue_name=np.array([name.replace("D", "") + "5" for name in TRACE.residue_name]))
    assert match_residues(TRACE, other).n_name_agree == TRACE.n_atoms
    renumbered = replace(TRACE, residue_number=TRACE.residue_number + 100, chain=np.where(TRACE.chain == "D", "X", "Y"))
    match = match_residues(TRACE, renumbered.select(np.arange(2, TRACE.n_atoms)))
    assert match.method == "sequence"
    np.testing.assert_array_equal(match.reference_index, match.model_index - 2)
    unlike = duplex("CCCCGGGGCCTTCCGG").trace()
    with pytest.raises(InputError, match="cannot be matched"):
        match_residues(replace(unlike, residue_number=unlike.residue_number + 100), TRACE)


def test_a_trace_alone_is_told_from_a_model():
    assert is_bare_trace(TRACE)
    assert is_bare_trace(join(PROTEIN, DNA).trace())
    assert not is_bare_trace(DNA)
    assert not is_bare_trace(join(PROTEIN.trace(), DNA))
