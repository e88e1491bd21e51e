"""Reading and writing models: what is chosen, what is kept, what is refused."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bayesflex.errors import InputError
from bayesflex.io.structures import READERS, fits_pdb, read_structure, write_ensemble, write_structure
from bayesflex.structure import Structure

COLUMNS = ("element", "atom_name", "residue_name", "residue_number", "insertion_code", "chain", "is_hetero")


def atom(
    serial: int = 1,
    name: str = " CA ",
    residue: str = "ALA",
    chain: str = "A",
    number: str = "   1 ",
    xyz: tuple[float, float, float] = (1.0, 2.0, 3.0),
    *,
    altloc: str = " ",
    occupancy: float = 1.0,
    b_factor: float = 10.0,
    element: str = "C",
    segment: str = "",
    record: str = "ATOM",
) -> str:
    x, y, z = xyz
    head = f"{record:<6}{serial:>5} {name}{altloc}{residue:<4}"[:21].ljust(21)
    values = f"{x:8.3f}{y:8.3f}{z:8.3f}{occupancy:6.2f}{b_factor:6.2f}"
    return f"{head}{chain:1}{number}   {values}      {segment:<4}{element:>2}"


def read(tmp_path: Path, *lines: str, name: str = "model.pdb") -> Structure:
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n")
    return read_structure(path)


def assert_same_atoms(a: Structure, b: Structure) -> None:
    np.testing.assert_allclose(a.coords, b.coords, atol=5.1e-4)  # three decimals
    np.testing.assert_allclose(a.b_factor, b.b_factor, atol=5.1e-3)
    np.testing.assert_allclose(a.occupancy, b.occupancy, atol=5.1e-3)
    for column in COLUMNS:
        assert getattr(a, column).tolist() == getattr(b, column).tolist(), column


# What a file holds


def test_atoms_come_in_file_order_with_all_columns(tmp_path: Path) -> None:
    structure = read(
        tmp_path,
        atom(1, " N  ", "GLY", "B", "  -5 ", (1.0, -2.0, 3.5), element="N", b_factor=7.5, occupancy=0.5),
        atom(2, " CA ", "GLY", "B", "  -5 "),
        atom(3, " CA ", "SER", "B", "  -5A"),
        atom(4, " HA ", "SER", "B", "  -5A", element="H"),
        "TER",
        atom(5, " O5'", "  A", "a", "   1 ", element="O"),
        atom(6, "ZN  ", " ZN", "B", "1000 ", element="ZN", record="HETATM"),
    )
    assert structure.coords[0].tolist() == [1.0, -2.0, 3.5]
    assert structure.element.tolist() == ["N", "C", "C", "H", "O", "ZN"]
    assert structure.atom_name.tolist() == ["N", "CA", "CA", "HA", "O5'", "ZN"]
    assert structure.residue_name.tolist() == ["GLY", "GLY", "SER", "SER", "A", "ZN"]
    assert structure.residue_number.tolist() == [-5, -5, -5, -5, 1, 1000]
    assert structure.insertion_code.tolist() == ["", "", "A", "A", "", ""]
    assert structure.chain.tolist() == ["B", "B", "B", "B", "a", "B"]
    assert structure.is_hetero.tolist() == [False] * 5 + [True]
    assert structure.occupancy[0] == 0.5
    assert structure.b_factor[0] == 7.5
    assert structure.name == "model.pdb"
    assert structure.notes == ()


def test_hybrid_36_numbers_are_read(tmp_path: Path) -> None:
    structure = read(tmp_path, atom(number="9999 "), atom(number="A000 "), atom(number="A001 "))
    assert structure.residue_number.tolist() == [9999, 10000, 10001]
    assert not fits_pdb(structure)


def test_the_first_of_several_models_is_read(tmp_path: Path) -> None:
    structure = read(tmp_path, "MODEL        1", atom(), "ENDMDL", "MODEL        2", atom(xyz=(9, 9, 9)), "ENDMDL")
    assert structure.coords.tolist() == [[1.0, 2.0, 3.0]]
    assert structure.notes == ("The file has 2 models; the first was read.",)


def test_one_alternative_location_is_kept_per_residue_by_summed_occupancy(tmp_path: Path) -> None:
    structure = read(
        tmp_path,
        atom(1, " N  ", xyz=(0, 0, 0), element="N"),
        # A has the larger occupancy in CA, B in the sum.
        atom(2, " CA ", altloc="A", occupancy=0.6, xyz=(1, 0, 0)),
        atom(3, " CA ", altloc="B", occupancy=0.4, xyz=(2, 0, 0)),
        atom(4, " CB ", altloc="A", occupancy=0.1, xyz=(3, 0, 0)),
        atom(5, " CB ", altloc="B", occupancy=0.4, xyz=(4, 0, 0)),
    )
    assert structure.atom_name.tolist() == ["N", "CA", "CB"]
    assert structure.coords[:, 0].tolist() == [0, 2, 4]
    assert "1 residues have alternative locations" in structure.notes[0]
    assert "2 atoms were left out" in structure.notes[0]


def test_among_equal_occupancies_the_first_is_kept(tmp_path: Path) -> None:
    structure = read(
        tmp_path,
        atom(1, altloc="B", occupancy=0.5, xyz=(1, 0, 0)),
        atom(2, altloc="A", occupancy=0.5, xyz=(2, 0, 0)),
    )
    assert structure.coords[:, 0].tolist() == [1]


def test_two_residues_of_one_number_compete_as_one(tmp_path: Path) -> None:
    structure = read(
        tmp_path,
        atom(1, " CA ", "SER", altloc="A", occupancy=0.3),
        atom(2, " CA ", "THR", altloc="B", occupancy=0.7),
        atom(3, " CA ", "GLY", number="   2 "),
    )
    assert structure.residue_name.tolist() == ["THR", "GLY"]


def test_a_written_conformer_carries_no_letter(tmp_path: Path) -> None:
    structure = read(tmp_path, atom(altloc="A", occupancy=0.5), atom(altloc="B", occupancy=0.4))
    write_structure(structure, tmp_path / "out.pdb")
    written = [line for line in (tmp_path / "out.pdb").read_text().splitlines() if line.startswith("ATOM")]
    assert [line[16] for line in written] == [" "]


@pytest.mark.parametrize("after_chain", [["TER"], []])
def test_ligands_are_told_from_modified_residues_of_a_chain(tmp_path: Path, after_chain: list[str]) -> None:
    chain = [atom(i, residue="ALA", number=f"{i:>4} ") for i in (1, 2, 3)]
    modified = [atom(i, residue="MSE", number=f"{i:>4} ", record="HETATM") for i in (4, 5)]
    ligands = [atom(residue=name, number=" 300 ", record="HETATM") for name in ("SAM", "GLU")]
    structure = read(tmp_path, *chain, *modified, *after_chain, *ligands)
    assert structure.is_ca.tolist() == [True] * 5 + [False] * 2


# What comes back


@pytest.mark.parametrize("suffix", sorted(READERS))
@pytest.mark.parametrize("with_template", [True, False])
def test_round_trip(tmp_path: Path, suffix: str, with_template: bool) -> None:
    structure = read(
        tmp_path,
        atom(1, " N  ", "GLY", "B", "  -5 ", (1.0, -2.0, 3.5), element="N", b_factor=7.5, occupancy=0.5),
        atom(2, " CA ", "GLY", "B", "  -5 "),
        atom(3, " CA ", "MSE", "B", "  -5A", record="HETATM"),
        atom(4, "SE  ", "MSE", "B", "  -5A", element="SE", record="HETATM"),
        "TER",
        atom(5, " CA ", "SER", "C", "   1 "),
        "TER",
        atom(6, "CA  ", " CA", "B", " 300 ", element="CA", record="HETATM"),
        atom(7, " O  ", "HOH", "B", " 301 ", element="O", record="HETATM"),
    )
    if not with_template:
        structure = structure.select(np.arange(structure.n_atoms))
    path = tmp_path / f"out{suffix}"
    write_structure(structure, path)
    again = read_structure(path)
    assert_same_atoms(structure, again)
    assert again.is_ca.tolist() == [False, True, True, False, True, False, False]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.pdb", path.name]


def test_new_values_are_written_and_the_model_read_stays_as_it_was(tmp_path: Path) -> None:
    structure = read(tmp_path, atom(1), "ANISOU    1  CA  ALA A   1     1000   1000   1000      0      0      0")
    moved = replace(structure, coords=structure.coords + 5.0, b_factor=np.array([42.0]), occupancy=np.array([0.25]))
    write_structure(moved, tmp_path / "out.pdb")
    again = read_structure(tmp_path / "out.pdb")
    assert again.coords.tolist() == [[6.0, 7.0, 8.0]]
    assert (again.b_factor.tolist(), again.occupancy.tolist()) == ([42.0], [0.25])
    assert "ANISOU" not in (tmp_path / "out.pdb").read_text()
    write_structure(structure, tmp_path / "unmoved.pdb")
    assert read_structure(tmp_path / "unmoved.pdb").coords.tolist() == [[1.0, 2.0, 3.0]]


def test_header_cell_and_sequence_are_kept(tmp_path: Path) -> None:
    lines = [
        "TITLE     A MODEL",
        "SEQRES   1 A    3  ALA GLY SER",
        "CRYST1   50.000   60.000   70.000  90.00  90.00  90.00 P 21 21 21    4",
        atom(1),
        atom(2, residue="GLY", number="   2 "),
    ]
    structure = read(tmp_path, *lines)
    write_structure(structure, tmp_path / "out.pdb")
    text = (tmp_path / "out.pdb").read_text()
    for expected in ("A MODEL", "ALA GLY SER", "50.000   60.000   70.000"):
        assert expected in text
    write_structure(structure, tmp_path / "out.cif")
    text = (tmp_path / "out.cif").read_text()
    assert "_cell.length_b 60" in text
    assert "AGS" in text


def test_bonds_of_ligands_keep_their_atoms(tmp_path: Path) -> None:
    lines = [
        atom(11, " C1 ", "LIG", record="HETATM"),
        atom(15, " C2 ", "LIG", record="HETATM"),
        "CONECT   11   15",
        "END",
    ]
    write_structure(read(tmp_path, *lines), tmp_path / "out.pdb")
    text = (tmp_path / "out.pdb").read_text()
    assert "HETATM   11  C1" in text
    assert "CONECT   11   15" in text


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    structure = read(tmp_path, atom())
    write_structure(structure, tmp_path / "a.cif.gz")
    write_structure(structure, tmp_path / "b.cif.gz")
    assert (tmp_path / "a.cif.gz").read_bytes() == (tmp_path / "b.cif.gz").read_bytes()


def test_an_ensemble_holds_every_model(tmp_path: Path, rng: np.random.Generator) -> None:
    import gemmi

    structure = read(tmp_path, atom(1), atom(2, " CB "))
    coords = rng.normal(size=(3, 2, 3))
    write_ensemble(structure, coords, tmp_path / "ensemble.cif")
    models = gemmi.read_structure(str(tmp_path / "ensemble.cif"))
    assert [model.num for model in models] == [1, 2, 3]
    written = np.array([[site.atom.pos.tolist() for site in model.all()] for model in models])
    np.testing.assert_allclose(written, coords, atol=5.1e-4)
    assert structure.coords.tolist() == [[1.0, 2.0, 3.0]] * 2


# What the PDB format cannot hold


def many(n: int) -> Structure:
    return Structure(
        coords=np.zeros((n, 3)),
        element=np.full(n, "O"),
        atom_name=np.full(n, "O"),
        residue_name=np.full(n, "HOH"),
        residue_number=np.arange(n) % 9999 + 1,
        insertion_code=np.full(n, ""),
        chain=np.char.add("W", (np.arange(n) // 9999 % 10).astype(str)),
        occupancy=np.ones(n),
        b_factor=np.zeros(n),
        is_hetero=np.ones(n, dtype=bool),
        name="waters",
    )


def test_more_than_99999_atoms_are_written_as_mmcif(tmp_path: Path) -> None:
    structure = many(100_000)
    assert not fits_pdb(structure)
    assert fits_pdb(many(99_999))
    with pytest.raises(InputError, match=r"waters: does not fit the PDB format: 100000 atoms .*mmCIF"):
        write_structure(structure, tmp_path / "out.pdb")
    assert list(tmp_path.iterdir()) == []
    write_structure(structure, tmp_path / "out.cif")
    assert_same_atoms(read_structure(tmp_path / "out.cif"), structure)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"residue_number": np.array([10000, 1])}, "residue numbers outside"),
        ({"residue_number": np.array([-1000, 1])}, "residue numbers outside"),
        ({"chain": np.array(["ABC", "A"])}, "chain 'ABC' longer than 2"),
        ({"residue_name": np.array(["TIP3", "A"])}, "residue name 'TIP3' longer than 3"),
        ({"coords": np.array([[0, 0, 10000.0], [0, 0, 0]])}, "coordinates outside"),
    ],
)
def test_what_exceeds_the_columns_of_pdb(tmp_path: Path, change: dict[str, np.ndarray], reason: str) -> None:
    structure = replace(many(2), **change)
    assert not fits_pdb(structure)
    with pytest.raises(InputError, match=reason):
        write_structure(structure, tmp_path / "out.pdb")
    write_structure(structure, tmp_path / "out.cif")
    assert_same_atoms(read_structure(tmp_path / "out.cif"), structure)


# What is refused

CIF = """data_x
loop_
_atom_site.id
_atom_site.type_symbol
_atom_site.label_atom_id
_atom_site.label_alt_id
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.label_seq_id
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
"""


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.pdb", b"", "the file is empty"),
        ("m.pdb.gz", b"", "the file is empty"),
        ("m.cif", b" \n", "the file is empty"),
        ("m.pdb", b"these are my notes\n", "holds no atoms"),
        ("m.cif", b"these are my notes\n", "cannot be read as an atomic model"),
        ("m.cif", b"data_x\n_cell.length_a 1\n", "holds no atoms"),
        ("m.cif", CIF.encode() + b"1 C CA . ALA A 1 1.0 2.0\n", "cannot be read as an atomic model"),
        ("m.cif", CIF.encode() + b"1 C CA . ALA A 1 1.0 ? 2.0\n", "not finite numbers, the first is atom 1"),
        ("m.pdb", CIF.encode() + b"1 C CA . ALA A 1 1.0 2.0 3.0\n", "rename it to end in .cif"),
        ("m.pdb", b"\x00\x00\x80\x3fMAP \x00\x00", "is a binary file"),
        ("m.pdb", atom().replace("   2.000", "     nan").encode(), "line 1 has no three finite coordinates"),
        ("m.pdb", atom().replace("   2.000", "********").encode(), "line 1 has no three finite coordinates"),
        ("m.pdb", (atom() + "\n" + atom()[:40]).encode(), "line 2 has no three finite coordinates"),
        ("m.pdb.gz", gzip.compress(atom().encode() * 50)[:-20], "damaged or cut short"),
        ("m.pdb.gz", atom().encode(), "is not gzipped"),
        ("m.xyz", b"1\n", "its suffix must be one of .pdb"),
        ("m.mrc", b"1\n", "not the name of an atomic model"),
    ],
)
def test_files_that_are_no_model_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_structure(path)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_structure(tmp_path / "absent.pdb")
    (tmp_path / "folder.pdb").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        read_structure(tmp_path / "folder.pdb")


def test_text_that_is_not_utf8_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "m.pdb"
    path.write_bytes("REMARK  M\xfcller\n".encode("latin-1") + atom().encode() + b"\n")
    structure = read_structure(path)
    assert structure.notes == ("The file is not UTF-8; it was read as Latin-1.",)
    write_structure(structure, tmp_path / "out.pdb")
    assert read_structure(tmp_path / "out.pdb").notes == ()


def test_windows_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "m.pdb"
    path.write_bytes(b"\xef\xbb\xbf" + f"{atom()}\r\n{atom(2, ' CB ')}\r\n".encode())
    assert read_structure(path).atom_name.tolist() == ["CA", "CB"]


def test_writing_refuses_what_cannot_be_written(tmp_path: Path) -> None:
    structure = read(tmp_path, atom())
    with pytest.raises(InputError, match="not finite"):
        write_structure(structure.with_coords(np.array([[np.nan, 0, 0]])), tmp_path / "out.pdb")
    with pytest.raises(InputError, match="cannot be written"):
        write_structure(structure, tmp_path / "absent" / "out.pdb")
    with pytest.raises(InputError, match="an ensemble is written as mmCIF"):
        write_ensemble(structure, np.zeros((2, 1, 3)), tmp_path / "out.pdb")
    with pytest.raises(InputError, match=r"shape \(n_models, 1, 3\), got \(2, 2, 3\)"):
        write_ensemble(structure, np.zeros((2, 2, 3)), tmp_path / "out.cif")
    assert [p.name for p in tmp_path.iterdir()] == ["model.pdb"]
