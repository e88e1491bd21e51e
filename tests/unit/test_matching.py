"""Matching: by number, with chains paired, by sequence, and not at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bayesflex.errors import InputError
from bayesflex.matching import match_residues
from bayesflex.structure import Structure

AMINO_ACIDS = "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL"


def trace(
    rng: np.random.Generator, length: int = 80, chain: str = "A", name: str = "t", at: tuple[float, ...] = (0, 0, 0)
) -> Structure:
    return Structure(
        coords=rng.normal(size=(length, 3)) + np.array(at, dtype=float),
        element=np.full(length, "C"),
        atom_name=np.full(length, "CA"),
        residue_name=rng.choice(AMINO_ACIDS.split(), length),
        residue_number=np.arange(1, length + 1),
        insertion_code=np.full(length, ""),
        chain=np.full(length, chain),
        occupancy=np.ones(length),
        b_factor=np.zeros(length),
        is_hetero=np.zeros(length, dtype=bool),
        name=name,
    )


def join(*parts: Structure) -> Structure:
    columns = {
        key: np.concatenate([getattr(part, key) for part in parts])
        for key, value in vars(parts[0]).items()
        if isinstance(value, np.ndarray)
    }
    return replace(parts[0], **columns)


def test_by_number_where_numbers_agree(rng: np.random.Generator) -> None:
    model = trace(rng, name="m.pdb")
    reference = replace(model.select(np.arange(79, 9, -1)), name="r.pdb")  # 70 residues, listed backwards
    match = match_residues(model, reference)
    assert match.method == "number"
    assert match.model_index.tolist() == list(range(10, 80))
    assert match.reference_index.tolist() == list(range(69, -1, -1))
    assert match.n_name_agree == 70
    assert match.message == (
        "70 residues of r.pdb (70) match m.pdb (80) by chain, residue number and insertion code; 70 names agree."
    )


def test_insertion_codes_tell_residues_apart(rng: np.random.Generator) -> None:
    codes = np.full(80, "")
    codes[41] = "A"
    model = trace(rng)
    numbers = np.r_[np.arange(1, 42), np.arange(41, 80)]  # 41, then 41A
    model = replace(model, residue_number=numbers, insertion_code=codes)
    match = match_residues(model, model.select(np.flatnonzero(codes == "")))
    assert 41 not in match.model_index
    assert len(match.model_index) == 79


def test_modified_names_count_as_the_plain_residue(rng: np.random.Generator) -> None:
    model = replace(trace(rng), residue_name=np.full(80, "MSE"))
    assert match_residues(model, replace(model, residue_name=np.full(80, "MET"))).n_name_agree == 80


def test_a_single_chain_of_another_name(rng: np.random.Generator) -> None:
    model = trace(rng)
    match = match_residues(model, replace(model, chain=np.full(80, "Z")))
    assert match.method == "number, chains paired"
    assert match.model_index.tolist() == match.reference_index.tolist() == list(range(80))
    assert "chains A with Z" in match.message


def test_chains_are_paired_by_their_names_of_residues(rng: np.random.Generator) -> None:
    first, second = trace(rng, chain="A"), trace(rng, chain="B")
    model = join(first, second)
    # The chain letters are swapped, so numbers and letters agree though the proteins differ.
    reference = join(replace(first, chain=np.full(80, "B")), replace(second, chain=np.full(80, "A")))
    match = match_residues(model, reference)
    assert match.method == "number, chains paired"
    assert match.model_index.tolist() == match.reference_index.tolist() == list(range(160))


def test_equal_chains_are_paired_by_place(rng: np.random.Generator) -> None:
    first = trace(rng, chain="A")
    second = replace(first, chain=np.full(80, "B"), coords=first.coords + np.array([50.0, 0.0, 0.0]))
    reference = join(replace(second, chain=np.full(80, "X")), replace(first, chain=np.full(80, "Y")))
    match = match_residues(join(first, second), reference)
    assert "chains A with Y, B with X" in match.message


def test_by_sequence_where_numbers_differ(rng: np.random.Generator) -> None:
    model = trace(rng, 100)
    kept = np.r_[5:40, 48:95]  # a loop and the ends are missing
    reference = replace(model.select(kept), residue_number=np.arange(len(kept)) + 500, chain=np.full(len(kept), "Q"))
    mutated = reference.residue_name.copy()
    mutated[::10] = "GLY"
    match = match_residues(model, replace(reference, residue_name=mutated))
    assert match.method == "sequence"
    right = np.count_nonzero(kept[match.reference_index] == match.model_index)
    assert right >= 0.95 * len(kept)  # residues beside the gap may be placed on its other side
    assert "by sequence alignment, chains A with Q" in match.message


def test_shifted_numbers_do_not_win_over_the_sequence(rng: np.random.Generator) -> None:
    model = trace(rng)
    match = match_residues(model, replace(model, residue_number=model.residue_number + 3))
    assert match.method == "sequence"
    assert match.model_index.tolist() == match.reference_index.tolist()


def test_a_trace_without_sequence_is_matched_by_number_with_a_warning(rng: np.random.Generator) -> None:
    model = trace(rng)
    match = match_residues(model, replace(model, residue_name=np.full(80, "UNK")))
    assert match.method == "number"
    assert len(match.model_index) == 80
    assert "check that they are the same protein" in match.message


@pytest.mark.parametrize("length", [10, 60, 300])
@pytest.mark.parametrize("seed", range(5))
def test_unrelated_proteins_are_refused(length: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    with pytest.raises(InputError, match=r"r\.pdb cannot be matched to m\.pdb: .* Give a reference"):
        match_residues(trace(rng, 400, name="m.pdb"), trace(rng, length, name="r.pdb"))


def test_each_residue_is_matched_once(rng: np.random.Generator) -> None:
    model = trace(rng)
    twice = join(model, model)  # the same chain and numbers twice
    match = match_residues(twice, model)
    assert len(set(match.model_index.tolist())) == len(match.model_index) == 80
    assert len(set(match.reference_index.tolist())) == 80
