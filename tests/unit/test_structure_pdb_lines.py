"""Old and CHARMM-style PDB files: elements, chains and long residue names."""

from __future__ import annotations

from pathlib import Path

import pytest

from bayesflex.io.pdb_lines import element_of
from bayesflex.io.structures import read_structure, write_structure
from bayesflex.structure import Structure


def line(name: str, residue: str, number: int, segment: str = "", chain: str = " ", x: float = 0.0) -> str:
    return (
        f"ATOM      1 {name} {residue:<4}{chain}{number:>4}    {x:8.3f}   0.000   0.000  1.00  0.00      {segment:<4}"
    )


def read(tmp_path: Path, *lines: str) -> Structure:
    path = tmp_path / "model.pdb"
    path.write_text("\n".join(lines) + "\n")
    return read_structure(path)


@pytest.mark.parametrize(
    ("padded", "residue", "expected"),
    [
        (" CA ", "ALA", "C"),
        ("CA  ", "ALA", "C"),
        ("CA  ", "CA", "CA"),
        ("CA  ", "LIG", "CA"),
        (" CA ", "LIG", "C"),
        ("HG  ", "SER", "H"),
        ("HG  ", "HG", "HG"),
        ("HG11", "VAL", "H"),
        ("1HG1", "VAL", "H"),
        ("HE21", "GLN", "H"),
        ("HO5'", "LIG", "H"),
        ("SE  ", "MSE", "SE"),
        (" SD ", "MET", "S"),
        ("CE  ", "MSE", "C"),
        (" CD ", "HSD", "C"),
        ("CD  ", "CD", "CD"),
        ("CAL ", "CAL", "CA"),
        (" CAL", "CAL", "CA"),
        ("SOD ", "SOD", "NA"),
        ("CLA ", "CLA", "CL"),
        ("POT ", "POT", "K"),
        ("ZN2 ", "ZN2", "ZN"),
        (" MG ", "MG", "MG"),
        ("FE  ", "HEM", "FE"),
        ("CL1 ", "LIG", "CL"),
        (" OH2", "TIP3", "O"),
        (" P  ", "ADE", "P"),
        (" O5'", "DA", "O"),
        (" D  ", "ALA", "D"),
        ("1234", "LIG", "X"),
    ],
)
def test_element_of_a_name(padded: str, residue: str, expected: str) -> None:
    assert element_of(padded, residue) == expected


def test_names_that_all_start_in_column_13_tell_no_metal() -> None:
    assert element_of("CD  ", "LIG", aligned=False) == "C"
    assert element_of("CL  ", "LIG", aligned=False) == "CL"
    assert element_of("ZN  ", "ZN", aligned=False) == "ZN"


def test_a_left_justified_file_has_a_ca_trace(tmp_path: Path) -> None:
    structure = read(tmp_path, line("CA  ", "ALA", 1, chain="A"), line("CD  ", "LIG", 2, chain="A"))
    assert structure.element.tolist() == ["C", "C"]
    assert structure.is_ca.tolist() == [True, False]
    assert structure.notes == ("2 atoms have no element in the file; it was derived from the atom names.",)


def test_elements_in_the_file_are_believed(tmp_path: Path) -> None:
    structure = read(tmp_path, line("HG  ", "CMH", 1, chain="A") + "HG", line("CA  ", "XXX", 2, chain="A") + " C")
    assert structure.element.tolist() == ["HG", "C"]
    assert structure.notes == ()


def test_the_segment_is_the_chain_where_there_is_none(tmp_path: Path) -> None:
    structure = read(
        tmp_path,
        line(" CA ", "ALA", 1, "PROA", x=1),
        line(" CA ", "HSD", 2, "PROA", x=2),
        line(" CA ", "ALA", 1, "PROB", x=3),
        line(" OH2", "TIP3", 1, "WATA", x=4),
        line(" OH2", "TIP3", 2, "WATA", x=5),
    )
    assert structure.chain.tolist() == ["PROA", "PROA", "PROB", "WATA", "WATA"]
    assert structure.residue_name.tolist() == ["ALA", "HSD", "ALA", "TIP3", "TIP3"]
    assert structure.coords[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert structure.is_ca.tolist() == [True, True, True, False, False]
    assert "the segment name (columns 73-76) is the chain: PROA, PROB, WATA" in structure.notes[1]
    write_structure(structure, tmp_path / "out.cif")
    assert read_structure(tmp_path / "out.cif").chain.tolist() == structure.chain.tolist()


def test_one_chain_where_there_is_neither_name_nor_segment(tmp_path: Path) -> None:
    structure = read(tmp_path, line(" CA ", "ALA", 1), line(" CA ", "ALA", 2), line(" CA ", "ALA", 50))
    assert structure.chain.tolist() == ["A"] * 3
    assert "the chain is lettered: A." in structure.notes[1]


def test_numbers_that_start_again_start_a_chain_and_keep_file_order(tmp_path: Path) -> None:
    structure = read(
        tmp_path,
        line(" CA ", "ALA", 1, x=1),
        line(" CA ", "GLY", 2, x=2),
        line(" CA ", "ALA", 1, x=3),
        line(" CA ", "GLY", 2, x=4),
    )
    assert structure.chain.tolist() == ["A", "A", "B", "B"]
    assert structure.coords[:, 0].tolist() == [1, 2, 3, 4]
    assert structure.ca_trace().n_atoms == 4


def test_a_lettered_chain_takes_no_name_that_is_in_use(tmp_path: Path) -> None:
    structure = read(tmp_path, line(" CA ", "ALA", 1, chain="A"), line(" CA ", "ALA", 1))
    assert structure.chain.tolist() == ["A", "B"]


def test_long_residue_names_stay_apart(tmp_path: Path) -> None:
    structure = read(
        tmp_path,
        line(" P  ", "POPC", 1, chain="L"),
        line(" P  ", "POPE", 2, chain="L"),
        line(" P  ", "ABCD", 3, "MEMB"),
    )
    assert structure.residue_name.tolist() == ["POPC", "POPE", "ABCD"]
    assert structure.chain.tolist() == ["L", "L", "MEMB"]


def test_chain_names_of_two_characters(tmp_path: Path) -> None:
    text = line(" CA ", "ALA", 1, chain="B")
    structure = read(tmp_path, text[:20] + "A" + text[21:])
    assert structure.chain.tolist() == ["AB"]
    assert structure.residue_name.tolist() == ["ALA"]


def test_serial_numbers_that_overflow_are_no_obstacle(tmp_path: Path) -> None:
    structure = read(
        tmp_path,
        *[
            line(" CA ", "ALA", i, chain="A").replace("ATOM      1", f"ATOM  {serial}")
            for i, serial in enumerate(["99999", "*****", "186a0"], start=1)
        ],
    )
    assert structure.residue_number.tolist() == [1, 2, 3]
