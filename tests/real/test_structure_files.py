"""Real models: read, written and read again, and matched."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bayesflex.geometry import rmsd, superposed_rmsd
from bayesflex.io.structures import read_structure, write_structure
from bayesflex.matching import match_residues

COLUMNS = (
    "element",
    "atom_name",
    "residue_name",
    "residue_number",
    "insertion_code",
    "chain",
    "is_hetero",
    "is_ligand",
)

#: File, atoms, residues with CA, elements: counted in the files with grep, alternative locations taken off.
FILES = [
    ("adk/1ake.pdb", 3804, 428, "C N O P S"),
    ("adk/4ake_A.pdb", 1656, 214, "C N O S"),
    ("groel/1oel.pdb", 3847, 524, "C N O S"),
    ("p97/5ftm.pdb.gz", 34554, 4368, "C MG N O P S"),
    ("protein_dna/1d66.pdb", 1762, 114, "C CD N O P S"),
    ("rf2/1mi6.pdb", 362, 362, "C"),
    ("rubella/5khe.pdb", 1599, 196, "C N O S"),
    ("mitoribosome/3j6b_chain9.pdb", 2865, 195, "C H N O S"),
    ("formats/non_zero_origin_model.pdb", 86, 10, "C N O S"),
]


@pytest.mark.parametrize(("name", "n_atoms", "n_ca", "elements"), FILES)
@pytest.mark.parametrize("suffix", [".pdb", ".cif.gz"])
def test_what_is_written_is_what_came_in(
    data_dir: Path, tmp_path: Path, name: str, n_atoms: int, n_ca: int, elements: str, suffix: str
) -> None:
    structure = read_structure(data_dir / name)
    assert structure.n_atoms == n_atoms
    assert structure.ca_trace().n_atoms == n_ca
    assert sorted(set(structure.element.tolist())) == elements.split()
    path = tmp_path / f"out{suffix}"
    write_structure(structure, path)
    again = read_structure(path)
    np.testing.assert_allclose(again.coords, structure.coords, atol=5.1e-4)
    np.testing.assert_allclose(again.b_factor, structure.b_factor, atol=5.1e-3)
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(again, column), getattr(structure, column), err_msg=column)


def test_atom_records_come_back_letter_by_letter(data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "protein_dna" / "1d66.pdb"
    write_structure(read_structure(source), tmp_path / "out.pdb")

    def records(path: Path) -> list[str]:
        return [line.rstrip() for line in path.read_text().splitlines() if line.startswith(("ATOM", "HETATM", "TER"))]

    assert records(tmp_path / "out.pdb") == records(source)


def test_alternative_locations_of_1ake_are_said(data_dir: Path) -> None:
    structure = read_structure(data_dir / "adk" / "1ake.pdb")
    assert structure.notes == (
        "2 residues have alternative locations; the one with the highest occupancy was kept in each "
        "and 12 atoms were left out.",
    )


def test_p97_is_read_and_matched_fast(data_dir: Path) -> None:
    start = time.perf_counter()
    model = read_structure(data_dir / "p97" / "5ftm.pdb.gz").ca_trace()
    reference = read_structure(data_dir / "p97" / "5ftn.pdb.gz").ca_trace()
    match = match_residues(model, reference)
    assert time.perf_counter() - start < 5.0
    assert len(match.model_index) == match.n_name_agree == 4368
    a, b = model.coords[match.model_index], reference.coords[match.reference_index]
    assert rmsd(a, b) == pytest.approx(11.3, abs=0.05)
    assert superposed_rmsd(a, b) == pytest.approx(10.8, abs=0.05)


def test_rf2_matches_by_number_and_under_another_chain_name(data_dir: Path) -> None:
    model = read_structure(data_dir / "rf2" / "1gqe_docked.pdb").ca_trace()
    reference = read_structure(data_dir / "rf2" / "1mi6.pdb").ca_trace()
    other = replace(reference, chain=np.full(reference.n_atoms, "Z"))
    for given, method in ((reference, "number"), (other, "number, chains paired")):
        match = match_residues(model, given)
        assert match.method == method
        assert len(match.model_index) == 362
        same = model.residue_name[match.model_index] == reference.residue_name[match.reference_index]
        assert np.count_nonzero(same) == 354
        assert match.n_name_agree == 362  # the other eight are selenomethionines
        a, b = model.coords[match.model_index], reference.coords[match.reference_index]
        assert rmsd(a, b) == pytest.approx(22.5, abs=0.05)
        assert superposed_rmsd(a, b) == pytest.approx(16.7, abs=0.05)


def test_the_two_states_of_adk_and_groel(data_dir: Path) -> None:
    for folder, first, second, n_common, expected in (
        ("adk", "1ake.pdb", "4ake_A.pdb", 214, 7.1),
        ("groel", "1oel.pdb", "1sx4A.pdb", 524, 12.2),
        ("mglur1", "1isrA.pdb", "1issA.pdb", 448, 3.3),
    ):
        a, b = (read_structure(data_dir / folder / name).ca_trace() for name in (first, second))
        match = match_residues(a, b)
        assert len(match.model_index) == n_common
        assert superposed_rmsd(a.coords[match.model_index], b.coords[match.reference_index]) == pytest.approx(
            expected, abs=0.06
        )
