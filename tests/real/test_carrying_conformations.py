"""Carrying real models from one conformation to another."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from bayesflex.carrying import carry
from bayesflex.geometry import rmsd, rotation_of_vector, superimpose, superposed_rmsd
from bayesflex.io.structures import read_structure
from bayesflex.matching import match_residues
from bayesflex.structure import Structure


def bond_lengths(structure: Structure, coords: np.ndarray, first: str, second: str, offset: int) -> np.ndarray:
    """Lengths between two atom names of residues ``offset`` apart in file order, where bonded at the start."""
    residue = structure.residue_index
    second_of = {int(residue[i]): i for i in np.flatnonzero(structure.atom_name == second)}
    pairs = [(i, second_of.get(int(residue[i]) + offset)) for i in np.flatnonzero(structure.atom_name == first)]
    a, b = np.array([pair for pair in pairs if pair[1] is not None]).T
    bonded = np.linalg.norm(structure.coords[a] - structure.coords[b], axis=1) < 2.0
    return np.asarray(np.linalg.norm(coords[a] - coords[b], axis=1)[bonded])


def test_closed_adk_carried_to_the_open_trace_is_open_adk(data_dir: Path) -> None:
    closed = read_structure(data_dir / "adk" / "1ake.pdb")
    closed = closed.select(closed.chain == "A")
    opened = read_structure(data_dir / "adk" / "4ake_A.pdb")
    ca_new = opened.ca_trace().coords
    assert superposed_rmsd(closed.ca_trace().coords, ca_new) > 7.0
    moved = carry(closed, ca_new)

    place = {key: i for i, key in enumerate(zip(opened.residue_number, opened.atom_name, strict=True))}
    keys = list(zip(closed.residue_number, closed.atom_name, strict=True))
    pairs = np.array([(i, place[key]) for i, key in enumerate(keys) if key in place and not closed.is_hetero[i]])
    backbone = np.isin(closed.atom_name[pairs[:, 0]], ("N", "C", "O", "CB"))
    # Between two crystal structures of one protein: side chains differ by their rotamers, the backbone hardly.
    assert rmsd(moved[pairs[backbone, 0]], opened.coords[pairs[backbone, 1]]) < 0.4
    assert rmsd(moved[pairs[:, 0]], opened.coords[pairs[:, 1]]) < 1.3

    assert closed.n_atoms > len(pairs)  # AP5 and waters came along
    ligand = closed.residue_name == "AP5"
    assert superposed_rmsd(moved[ligand], closed.coords[ligand]) < 1e-9
    np.testing.assert_allclose(
        bond_lengths(closed, moved, "C", "N", 1), bond_lengths(closed, closed.coords, "C", "N", 1), atol=1e-9
    )
    for first, second in (("N", "CA"), ("CA", "C")):
        strain = bond_lengths(closed, moved, first, second, 0) - bond_lengths(closed, closed.coords, first, second, 0)
        assert np.abs(strain).max() < 0.1


def test_p97_is_carried_in_two_seconds_exactly_where_the_motion_is_rigid(data_dir: Path) -> None:
    model = read_structure(data_dir / "p97" / "5ftm.pdb.gz")
    rotation = rotation_of_vector([1.0, 2.0, 0.5])
    start = time.perf_counter()
    moved = carry(model, model.ca_trace().coords @ rotation.T + 50.0)
    assert time.perf_counter() - start < 2.0
    np.testing.assert_allclose(moved, model.coords @ rotation.T + 50.0, atol=1e-9)


def test_p97_carried_to_the_other_conformation_keeps_its_nucleotides(data_dir: Path) -> None:
    up = read_structure(data_dir / "p97" / "5ftn.pdb.gz")
    down = read_structure(data_dir / "p97" / "5ftm.pdb.gz")
    match = match_residues(down.ca_trace(), up.ca_trace())
    ca_new = up.ca_trace().coords[match.reference_index]
    moved = carry(down, ca_new)
    np.testing.assert_allclose(
        bond_lengths(down, moved, "C", "N", 1), bond_lengths(down, down.coords, "C", "N", 1), atol=1e-9
    )
    ligands = np.unique(down.residue_index[down.is_hetero])
    for residue in ligands:
        atoms = down.residue_index == residue
        assert superposed_rmsd(moved[atoms], down.coords[atoms]) < 1e-9
    # 5FTN has ATPγS where 5FTM has ADP; their shared atoms lie alike in the protein, and land there.
    for name in ("PA", "C5"):
        carried = moved[down.is_hetero & (down.atom_name == name)]
        known = up.coords[up.is_hetero & (up.atom_name == name)]
        distance = np.linalg.norm(carried[:, None] - known, axis=-1).min(axis=1)
        assert len(distance) == 12
        assert distance.max() < 0.6


def test_dna_moves_with_the_protein_that_reads_it(data_dir: Path) -> None:
    model = read_structure(data_dir / "protein_dna" / "1d66.pdb")
    trace = model.trace()
    hinge = trace.coords.mean(axis=0)
    # A smooth bend: 10 degrees over the length of the complex.
    bend = np.radians(10.0) * (trace.coords[:, 2] - hinge[2]) / np.ptp(trace.coords[:, 2])
    ca_new = np.array(
        [
            rotation_of_vector([angle, 0.0, 0.0]) @ (point - hinge) + hinge
            for point, angle in zip(trace.coords, bend, strict=True)
        ]
    )
    moved = carry(model, ca_new)
    start = bond_lengths(model, model.coords, "O3'", "P", 1)
    assert len(start) >= 34
    assert np.abs(bond_lengths(model, moved, "O3'", "P", 1) - start).max() < 0.2
    dna = np.char.startswith(model.residue_name, "D") & ~model.is_hetero
    whole = superimpose(trace.coords, ca_new)
    rigid = model.coords[dna] @ whole.rotation.T + whole.translation
    assert rmsd(moved[dna], rigid) < 2.0 * rmsd(ca_new, trace.coords)
    assert np.isfinite(moved).all()


@pytest.mark.parametrize("sigma", [0.05, 0.3])
def test_rough_traces_strain_bonds_to_ca_by_no_more_than_the_trace(
    data_dir: Path, rng: np.random.Generator, sigma: float
) -> None:
    model = read_structure(data_dir / "adk" / "4ake_A.pdb")
    ca = model.ca_trace().coords
    ca_new = ca + sigma * rng.normal(size=ca.shape)
    moved = carry(model, ca_new)
    step_change = np.linalg.norm(np.diff(ca_new, axis=0), axis=1) - np.linalg.norm(np.diff(ca, axis=0), axis=1)
    for first, second in (("N", "CA"), ("CA", "C")):
        strain = bond_lengths(model, moved, first, second, 0) - bond_lengths(model, model.coords, first, second, 0)
        assert np.sqrt(np.mean(strain**2)) < 0.6 * np.sqrt(np.mean(step_change**2))
