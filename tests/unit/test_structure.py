"""Structure: residues, selection and the CA trace."""

from __future__ import annotations

import numpy as np
import pytest

from bayesflex.errors import InputError
from bayesflex.structure import Structure


def make(names: list[str], numbers: list[int], elements: list[str] | None = None, **columns: object) -> Structure:
    n = len(names)
    values: dict[str, object] = {
        "coords": np.arange(3.0 * n).reshape(n, 3),
        "element": np.array(elements or [name[0] for name in names]),
        "atom_name": np.array(names),
        "residue_name": np.full(n, "ALA"),
        "residue_number": np.array(numbers),
        "insertion_code": np.full(n, ""),
        "chain": np.full(n, "A"),
        "occupancy": np.ones(n),
        "b_factor": np.zeros(n),
        "is_hetero": np.zeros(n, dtype=bool),
    }
    return Structure(**(values | columns))  # type: ignore[arg-type]


def test_insertion_codes_separate_residues() -> None:
    structure = make(["N", "CA", "CA", "CA"], [1, 1, 1, 1], insertion_code=np.array(["", "", "A", "B"]))
    assert structure.residue_index.tolist() == [0, 0, 1, 2]
    assert structure.ca_indices.tolist() == [1, 2, 3]


def test_calcium_is_no_ca() -> None:
    structure = make(["CA", "CA"], [1, 2], elements=["C", "CA"])
    assert structure.ca_indices.tolist() == [0]


def test_the_ca_of_a_ligand_is_no_bead() -> None:
    structure = make(["CA", "CA"], [1, 2], is_ligand=np.array([False, True]))
    assert structure.ca_trace().residue_number.tolist() == [1]


def test_the_size_counts_amino_acids_and_nucleotides() -> None:
    assert make(["CA", "CA"], [1, 2]).size_in_words() == "2 atoms in 2 residues (2 with CA), 1 chain"
    mixed = make(["CA", "C4'", "P", "O"], [1, 2, 2, 3])
    assert mixed.size_in_words() == "4 atoms in 3 residues (1 with CA, 1 nucleotides with C4'), 1 chain"
    assert make(["O"], [1]).size_in_words() == "1 atoms in 1 residues, 1 chain"
    assert "1 nucleotides with C4&#x27;" in mixed._repr_html_()


def test_one_ca_per_residue() -> None:
    structure = make(["CA", "CA", "CA"], [1, 1, 2])
    assert structure.ca_indices.tolist() == [0, 2]


def test_a_model_without_ca_is_refused() -> None:
    with pytest.raises(InputError, match="no CA atom found among 2 atoms"):
        make(["P", "O5'"], [1, 1]).ca_trace()


def test_selection_drops_the_template_and_keeps_columns_together() -> None:
    structure = make(["N", "CA", "C"], [1, 1, 2], is_ligand=np.array([False, False, True]), template=object())
    chosen = structure.select(np.array([2, 0]))
    assert chosen.atom_name.tolist() == ["C", "N"]
    assert chosen.is_ligand is not None
    assert chosen.is_ligand.tolist() == [True, False]
    assert chosen.template is None
    assert structure.with_coords(structure.coords).template is structure.template


def test_columns_of_another_length_are_refused() -> None:
    with pytest.raises(InputError, match="b_factor has 3 entries for 2 atoms"):
        make(["N", "CA"], [1, 1], b_factor=np.zeros(3))
