"""Reading and writing atomic models: PDB and mmCIF, plain or gzipped, through gemmi.

What is written holds what came in: :attr:`Structure.template` is the gemmi
structure of the file, whose positions, B-factors and occupancies are replaced.
Trajectories live in ``io.trajectories``.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import NDArray

from bayesflex.errors import InputError
from bayesflex.io.atomic import atomic_path
from bayesflex.io.packed import GZIP_MAGIC, unpacked
from bayesflex.io.pdb_lines import repair_pdb
from bayesflex.structure import Structure

#: Largest atom serial, smallest and largest residue number, and range of coordinates (Å) of the PDB format 3.3.
_PDB_ATOMS = 99_999
_PDB_NUMBERS = (-999, 9999)
_PDB_COORDINATES = (-999.999, 9999.999)

_NO_ALTLOC = "\0"


def read_structure(path: str | Path) -> Structure:
    """Read an atomic model; the suffix chooses the format (see ``READERS``).

    The first model of several is read, and of alternative locations the one with the highest summed
    occupancy in its residue (the first in the file among equals); ``notes`` says so. Atoms are in file
    order, hydrogens and hetero atoms included.

    Raises
    ------
    InputError
        If the file is missing, unreadable, empty, cut short, no model, or has coordinates that are not finite.
    """
    path = Path(path)
    reader = READERS[_suffix_of(path, READERS)]
    text, notes = _read_text(path)
    try:
        template, reader_notes = reader(text, path.name)
    except (ValueError, RuntimeError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: cannot be read as an atomic model ({reason}). "
            f"The file's format must be that of its suffix: {', '.join(READERS)}."
        ) from error
    try:
        return _structure_of(template, path, (*notes, *reader_notes))
    except UnicodeDecodeError as error:
        # gemmi keeps bytes, and fields of fixed width cut letters of several bytes apart.
        raise InputError(
            f"{path}: a name in the model is not text ({error.reason}). Names of atoms, residues and chains may hold "
            "ASCII characters alone: mend them, or write the model again."
        ) from error


@dataclass(frozen=True)
class Category:
    """A table of one's own in an mmCIF file.

    Parameters
    ----------
    name
        Without the leading underscore; it should begin with a prefix that no dictionary has.
    columns
        Items of the category, and their values as texts or numbers; None where there is none.
    """

    name: str
    columns: Mapping[str, Sequence[str | int | float | None]]


def write_structure(structure: Structure, path: str | Path, *, categories: Sequence[Category] = ()) -> None:
    """Write a model; the suffix chooses the format (see ``WRITERS``).

    Header, entities, cell and sequence are those of the file that the model was read from. Anisotropic
    B-factors are left out, since they do not turn with the atoms.

    Parameters
    ----------
    structure
        The model.
    path
        Where to write.
    categories
        Tables to write with it, in mmCIF alone.

    Raises
    ------
    InputError
        If the suffix is unknown, a coordinate is not finite, the model does not fit the PDB format
        (see :func:`fits_pdb`), there are tables and the format is not mmCIF, or the file cannot be written.
    """
    path = Path(path)
    writer = WRITERS[_suffix_of(path, WRITERS)]
    _require_finite(structure.coords, structure.name)
    if not categories:
        text = writer(structure)
    elif writer is _mmcif_text:
        text = _mmcif_of(_gemmi_of(structure), categories)
    else:
        raise InputError(f"{path}: tables of one's own fit into mmCIF alone; give a name that ends in .cif.")
    _write_text(text, path)


def write_ensemble(structure: Structure, coords: NDArray[np.float64], path: str | Path) -> None:
    """Write positions, shape (n_models, n_atoms, 3) in Å, as models numbered from 1 of one mmCIF file.

    Raises
    ------
    InputError
        If the shape does not fit the model, a coordinate is not finite, or the suffix is not one of mmCIF.
    """
    path = Path(path)
    suffix = _suffix_of(path, WRITERS)
    if WRITERS[suffix] is not _mmcif_text:
        raise InputError(f"{path}: an ensemble is written as mmCIF; give a name that ends in .cif or .cif.gz.")
    if coords.ndim != 3 or coords.shape[0] == 0 or coords.shape[1:] != (structure.n_atoms, 3):
        raise InputError(
            f"{path}: an ensemble of {structure.name} needs coordinates of shape (n_models, {structure.n_atoms}, 3), "
            f"got {coords.shape}."
        )
    _require_finite(coords, f"ensemble of {structure.name}")
    result = _gemmi_of(structure)
    # A copy of its own: adding models moves those that the structure holds.
    model = result[0].clone()
    del result[0]
    for number, positions in enumerate(coords, start=1):
        model.num = number
        _set_positions(model, positions)
        result.add_model(model)
    _write_text(_mmcif_of(result), path)


def fits_pdb(structure: Structure) -> bool:
    """Return whether the PDB format can hold the model without loss (atoms, numbers, names and coordinates)."""
    return not _reasons_against_pdb(structure)


def _reasons_against_pdb(structure: Structure) -> list[str]:
    """Return what of a model exceeds the columns of the PDB format."""
    low, high = _PDB_NUMBERS
    reasons = []
    if structure.n_atoms > _PDB_ATOMS:
        reasons.append(f"{structure.n_atoms} atoms (the format holds {_PDB_ATOMS})")
    if structure.n_atoms == 0:
        return reasons
    if structure.residue_number.min() < low or structure.residue_number.max() > high:
        reasons.append(f"residue numbers outside {low} to {high}")
    # Two characters in columns 21-22, as gemmi and the wwPDB's large split entries write them.
    widths = {"chain": 2, "residue_name": 3, "atom_name": 4, "insertion_code": 1}
    for column, width in widths.items():
        longest = max(np.unique(getattr(structure, column)), key=len)
        if len(longest) > width:
            reasons.append(f"{column.replace('_', ' ')} {str(longest)!r} longer than {width}")
    if structure.coords.min() < _PDB_COORDINATES[0] or structure.coords.max() > _PDB_COORDINATES[1]:
        reasons.append(f"coordinates outside {_PDB_COORDINATES[0]} to {_PDB_COORDINATES[1]} Å")
    return reasons


def _suffix_of(path: Path, table: Iterable[str]) -> str:
    """Return the longest suffix of the table that ends the file's name."""
    for suffix in sorted(table, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return suffix
    raise InputError(f"{path}: not the name of an atomic model; its suffix must be one of {', '.join(table)}.")


def _read_text(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return the file's text, unpacked, with notes on its encoding."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the file of an atomic model in it.")
    try:
        data = path.read_bytes()
        if data.startswith(GZIP_MAGIC):
            data = unpacked(path, data)
        elif path.name.lower().endswith(".gz") and data:
            raise InputError(f"{path}: is not gzipped, though its suffix says so; rename it without .gz.")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the name and the folder.") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: the gzipped file is damaged or cut short ({error}); fetch it again.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check its permissions.") from error
    if not data.strip():
        raise InputError(f"{path}: the file is empty; expected an atomic model.")
    if b"\0" in data[:4096]:
        raise InputError(
            f"{path}: is a binary file, not an atomic model in PDB or mmCIF format. "
            "If it is a map, give it where a map is asked for."
        )
    try:
        return data.decode("utf-8-sig"), ()
    except UnicodeDecodeError:
        return data.decode("latin-1"), ("The file is not UTF-8; it was read as Latin-1.",)


def _parse_pdb(text: str, source: str) -> tuple[gemmi.Structure, tuple[str, ...]]:
    if text.lstrip().startswith("data_"):
        raise InputError(f"{source}: holds mmCIF though its suffix is that of PDB; rename it to end in .cif.")
    repaired = repair_pdb(text, source)
    result = gemmi.read_pdb_string(repaired.text)
    for model in result:
        for chain in model:
            chain.name = repaired.chain_names.get(chain.name, chain.name)
            if repaired.residue_names:
                for residue in chain:
                    residue.name = repaired.residue_names.get(residue.name, residue.name)
    return result, repaired.notes


def _parse_mmcif(text: str, source: str) -> tuple[gemmi.Structure, tuple[str, ...]]:
    # Chains stay in the parts that the file has, so that atoms stay in file order.
    result = gemmi.read_structure_string(text, merge_chain_parts=False, format=gemmi.CoorFormat.Mmcif)
    return result, ()


def _structure_of(template: gemmi.Structure, path: Path, notes: tuple[str, ...]) -> Structure:
    """Return the arrays of the first model of a gemmi structure, which becomes the template."""
    if len(template) == 0 or template[0].count_atom_sites() == 0:
        raise InputError(
            f"{path}: holds no atoms; expected ATOM or HETATM records (PDB) or an _atom_site loop (mmCIF). "
            "Give the file of an atomic model."
        )
    for chain in template[0]:
        for residue in chain:
            if residue.seqid.num is None:
                raise InputError(
                    f"{path}: residue {residue.name} of chain {chain.name} has no number; expected one for each. "
                    "Number the residues, or write the model again."
                )
    if len(template) > 1:
        notes = (*notes, f"The file has {len(template)} models; the first was read.")
        del template[1:]
    n_residues, n_atoms = _keep_one_conformer(template[0])
    if n_residues:
        template.clear_conect()
        notes = (
            *notes,
            f"{n_residues} residues have alternative locations; "
            f"the one with the highest occupancy was kept in each and {n_atoms} atoms were left out.",
        )
    for chain in template[0]:
        # mmCIF allows a blank author chain; without a name neither format can be written.
        chain.name = chain.name.strip() or "A"
    template.setup_entities()
    structure = replace(_arrays_of(template, path.name), notes=notes)
    _require_finite(structure.coords, str(path))
    return structure


def _require_finite(coords: NDArray[np.float64], source: str) -> None:
    bad = np.flatnonzero(~np.isfinite(coords).all(axis=-1))
    if len(bad):
        raise InputError(
            f"{source}: {len(bad)} atoms have coordinates that are not finite numbers, the first is atom {bad[0] + 1}. "
            "Remove these atoms or write the model again."
        )


def _keep_one_conformer(model: gemmi.Model) -> tuple[int, int]:
    """Keep one alternative location per residue; return the residues concerned and the atoms left out.

    Residues of one number but several names (microheterogeneity) compete as one.
    """
    n_residues = n_removed = 0
    for chain in model:
        for _, group in groupby(list(chain), key=lambda residue: str(residue.seqid)):
            residues = list(group)
            occupancy: dict[str, float] = {}
            for residue in residues:
                for atom in residue:
                    if atom.altloc != _NO_ALTLOC:
                        occupancy[atom.altloc] = occupancy.get(atom.altloc, 0.0) + atom.occ
            if not occupancy:
                continue
            kept = max(occupancy, key=lambda altloc: occupancy[altloc])  # the first among equals
            n_residues += len(occupancy) > 1
            for residue in residues:
                for index in reversed(range(len(residue))):
                    atom = residue[index]
                    if atom.altloc not in (_NO_ALTLOC, kept):
                        del residue[index]
                        n_removed += 1
                    else:
                        atom.altloc = _NO_ALTLOC
        for index in reversed(range(len(chain))):
            if len(chain[index]) == 0:
                del chain[index]
    model_chains = [index for index, chain in enumerate(model) if len(chain) == 0]
    for index in reversed(model_chains):
        del model[index]
    return n_residues, n_removed


def _arrays_of(template: gemmi.Structure, name: str) -> Structure:
    """Return the atoms of a gemmi structure's first model as arrays."""
    per_atom = []
    per_residue = []
    lengths = []
    for chain in template[0]:
        for residue in chain:
            is_hetero = residue.het_flag == "H"
            is_ligand = is_hetero and residue.entity_type != gemmi.EntityType.Polymer
            icode = residue.seqid.icode.strip()
            per_residue.append((residue.name, residue.seqid.num, icode, chain.name, is_hetero, is_ligand))
            lengths.append(len(residue))
            for atom in residue:
                position = atom.pos
                per_atom.append(
                    (position.x, position.y, position.z, atom.occ, atom.b_iso, atom.element.name.upper(), atom.name)
                )
    x, y, z, occupancy, b_factor, element, atom_name = zip(*per_atom, strict=True)
    residue_name, number, insertion_code, chain_name, hetero, ligand = (
        np.repeat(np.array(column), lengths) for column in zip(*per_residue, strict=True)
    )
    return Structure(
        coords=np.array([x, y, z], dtype=np.float64).T.copy(),  # (n_atoms, 3)
        element=np.array(element),
        atom_name=np.array(atom_name),
        residue_name=residue_name,
        residue_number=number.astype(np.int64),
        insertion_code=insertion_code,
        chain=chain_name,
        occupancy=np.array(occupancy, dtype=np.float64),
        b_factor=np.array(b_factor, dtype=np.float64),
        is_hetero=hetero,
        is_ligand=ligand,
        name=name,
        template=template,
    )


def _gemmi_of(structure: Structure) -> gemmi.Structure:
    """Return a new gemmi structure with the model's positions, B-factors and occupancies."""
    if structure.template is None:
        result = _gemmi_from_arrays(structure)
    else:
        result = structure.template.clone()
        if result[0].count_atom_sites() != structure.n_atoms:
            raise InputError(
                f"{structure.name}: its template has {result[0].count_atom_sites()} atoms and the model "
                f"{structure.n_atoms}; select atoms with Structure.select, which drops the template."
            )
    _set_positions(result[0], structure.coords)
    values = zip(_atoms(result[0]), structure.b_factor.tolist(), structure.occupancy.tolist(), strict=True)
    for atom, b_factor, occupancy in values:
        atom.b_iso = b_factor
        atom.occ = occupancy
        atom.aniso = gemmi.SMat33f(0, 0, 0, 0, 0, 0)
    return result


def _gemmi_from_arrays(structure: Structure) -> gemmi.Structure:
    """Return a gemmi structure built from the arrays alone."""
    result = gemmi.Structure()
    result.name = structure.name
    model = gemmi.Model(1)
    index = structure.residue_index
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    stops = np.append(starts[1:], structure.n_atoms)
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        if start == 0 or structure.chain[start] != structure.chain[start - 1]:
            model.add_chain(gemmi.Chain(str(structure.chain[start])))
        residue = gemmi.Residue()
        residue.name = str(structure.residue_name[start])
        residue.seqid = gemmi.SeqId(int(structure.residue_number[start]), str(structure.insertion_code[start]) or " ")
        residue.het_flag = "H" if structure.is_hetero[start] else "A"
        for i in range(start, stop):
            atom = gemmi.Atom()
            atom.name = str(structure.atom_name[i])
            atom.element = gemmi.Element(str(structure.element[i]))
            residue.add_atom(atom)
        model[-1].add_residue(residue)
    result.add_model(model)
    result.setup_entities()
    return result


def _atoms(model: gemmi.Model) -> Iterator[gemmi.Atom]:
    """Go through the atoms of a model in file order."""
    return (atom for chain in model for residue in chain for atom in residue)


def _set_positions(model: gemmi.Model, coords: NDArray[np.float64]) -> None:
    """Write positions (n_atoms, 3) into a gemmi model that the caller owns."""
    for atom, (x, y, z) in zip(_atoms(model), coords.tolist(), strict=True):
        atom.pos = gemmi.Position(x, y, z)


def _pdb_text(structure: Structure) -> str:
    reasons = _reasons_against_pdb(structure)
    if reasons:
        raise InputError(
            f"{structure.name}: does not fit the PDB format: {'; '.join(reasons)}. Write it as mmCIF, with suffix .cif."
        )
    result = _gemmi_of(structure)
    # Bonds of ligands refer to serial numbers, so the two are kept together.
    has_bonds = bool(result.conect_map)
    options = gemmi.PdbWriteOptions(
        preserve_serial=has_bonds,
        conect_records=has_bonds,
        # The cell 1 x 1 x 1 Å that stands for none makes other programs warn.
        cryst1_record=result.cell.is_crystal(),
    )
    return result.make_pdb_string(options)


def _mmcif_text(structure: Structure) -> str:
    return _mmcif_of(_gemmi_of(structure))


def _mmcif_of(template: gemmi.Structure, categories: Sequence[Category] = ()) -> str:
    groups = gemmi.MmcifOutputGroups(True)
    groups.cell = groups.symmetry = template.cell.is_crystal()
    document = template.make_mmcif_document(groups)
    for category in categories:
        loop = document.sole_block().init_loop(f"_{category.name}.", list(category.columns))
        for row in zip(*category.columns.values(), strict=True):
            loop.add_row([_cif_value(value) for value in row])
    return document.as_string()


def _cif_value(value: str | int | float | None) -> str:
    """Return a value as mmCIF writes it; '.' where there is none."""
    if value is None:
        return "."
    if isinstance(value, str):
        return gemmi.cif.quote(value)
    return format(value, ".4g") if isinstance(value, float) else str(value)


def _write_text(text: str, path: Path) -> None:
    data = text.encode()
    if path.name.lower().endswith(".gz"):
        data = gzip.compress(data, mtime=0)  # the same model gives the same bytes
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


#: Parsers by suffix: (text, source) to a gemmi structure and notes. The gzipped forms are unpacked before.
READERS: dict[str, Callable[[str, str], tuple[gemmi.Structure, tuple[str, ...]]]] = {
    ".pdb": _parse_pdb,
    ".ent": _parse_pdb,
    ".cif": _parse_mmcif,
    ".mmcif": _parse_mmcif,
    ".pdb.gz": _parse_pdb,
    ".ent.gz": _parse_pdb,
    ".cif.gz": _parse_mmcif,
    ".mmcif.gz": _parse_mmcif,
}

#: Formatters by suffix: a model to text. Names that end in .gz are packed afterwards.
WRITERS: dict[str, Callable[[Structure], str]] = {
    suffix: _pdb_text if reader is _parse_pdb else _mmcif_text for suffix, reader in READERS.items()
}
