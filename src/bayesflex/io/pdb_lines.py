"""Making old and CHARMM-style PDB lines readable: elements, chain names and long residue names.

Works on text, before any parser sees it, since a parser has to guess what a blank
column means and guesses silently. Not a PDB parser: ``io.structures`` has one.
Columns are those of the PDB format 3.3, counted from 1 in comments and from 0 in slices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import product
from string import ascii_uppercase, digits

import gemmi

from bayesflex.errors import InputError

#: Residues made of light elements alone, whose "CA" is a carbon and "HG" a hydrogen: those of the
#: PDB's chemical components, and the names that CHARMM and AMBER give to protonation states.
_LIGHT_NAMES = (
    "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL ASX GLX UNK PYL "
    "HSD HSE HSP HID HIE HIP CYX CYM CYS2 ASH GLH LYN LSN TYM ACE NME NMA NH2 "
    "A C G U I DA DC DG DT DU DI ADE CYT GUA THY URA HOH WAT DOD TIP TIP3 TIP4 TIP5 SPC SPCE"
)
_LIGHT_RESIDUES = frozenset(_LIGHT_NAMES.split())
_LIGHT_ELEMENTS = frozenset("HDCNOSP")

#: Ions whose CHARMM name is no element symbol (toppar_water_ions.str).
_CHARMM_IONS = {"SOD": "NA", "CLA": "CL", "POT": "K", "CAL": "CA", "CES": "CS", "LIT": "LI", "RUB": "RB", "BAR": "BA"}
_CHARMM_IONS |= {"CAD": "CD", "ZN2": "ZN", "MG2": "MG", "FE2": "FE"}

#: Two-letter elements that are believed where names are not aligned to the element's columns.
_UNMISTAKABLE = frozenset(("CL", "BR", "FE", "ZN", "MG", "MN", "SE", "CU"))

#: Residue names of four letters that run into the chain column (water models and lipids of CHARMM).
_FOUR_LETTERS = frozenset(
    ("TIP3", "TIP4", "TIP5", "SPCE", "CHL1", "POPC", "POPE", "POPG", "POPS", "DPPC", "DOPC", "DMPC")
)

_BASE36 = digits + ascii_uppercase


@dataclass
class RepairedPdb:
    """PDB text that a strict parser reads right, with the names that stand in for others.

    Parameters
    ----------
    text
        The lines, elements filled in and stand-in names put where the real ones do not fit.
    chain_names, residue_names
        From stand-in to real name.
    notes
        Sentences about what was filled in.
    """

    text: str = ""
    chain_names: dict[str, str] = field(default_factory=dict)
    residue_names: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def element_of(padded_name: str, residue_name: str, aligned: bool = True) -> str:
    """Return the element symbol, in upper case, that an atom name stands for.

    Parameters
    ----------
    padded_name
        Columns 13-16 of the line, blanks kept: " CA " is a carbon and "CA  " calcium.
    residue_name
        Columns 18-21, stripped.
    aligned
        False in files that start every name in column 13, where blanks tell nothing.
    """
    name = padded_name.strip().upper()
    if name == residue_name and name in _CHARMM_IONS:
        return _CHARMM_IONS[name]
    letters = name.lstrip(digits + "'\"*")
    if not letters:
        return "X"
    one, two = letters[0], letters[:2]
    if residue_name in _LIGHT_RESIDUES and one in _LIGHT_ELEMENTS:
        return one
    if residue_name == "MSE":
        return "SE" if two == "SE" else one
    is_ion = letters.rstrip(digits + "+-") == residue_name.rstrip(digits + "+-")
    in_element_columns = aligned and padded_name[0].isalpha() and not (len(name) == 4 and one == "H")
    if (is_ion or in_element_columns or two in _UNMISTAKABLE) and _is_element(two):
        return two
    return one if _is_element(one) else "X"


def repair_pdb(text: str, source: str) -> RepairedPdb:
    """Fill in what the atom lines of a PDB file lack, and check their coordinates.

    Elements are derived from names where columns 77-78 hold none. Where the chain column is blank, the
    segment name (columns 73-76) is the chain; without one, chains are lettered from A, a new one where the
    residue number falls. Residue names of four letters are kept.

    Raises
    ------
    InputError
        If an atom line is cut short or one of its coordinates is not a finite number.
    """
    lines = text.splitlines()
    atoms = [i for i, line in enumerate(lines) if line.startswith(("ATOM", "HETATM"))]
    # The alpha carbon tells whether names keep to the columns of their element.
    aligned = not any(lines[i][12:16] == "CA  " and lines[i][17:20] in _LIGHT_RESIDUES for i in atoms)
    chains = _ChainNamer({lines[i][20:22].strip() for i in atoms})
    result = RepairedPdb()
    short_names: dict[str, str] = {}
    n_elements = 0

    for i in atoms:
        line = lines[i]
        _check_coordinates(line, i + 1, source)
        line = line.ljust(80)
        residue = line[17:21].strip()
        # Column 21 belongs to a residue name of four letters, or to a chain name of two.
        if len(line[17:21].split()) == 1 and line[20] != " " and (line[21] == " " or residue in _FOUR_LETTERS):
            stand_in = short_names.setdefault(residue, _stand_in(len(short_names)))
            line = f"{line[:17]}{stand_in} {line[21:]}"
        else:
            residue = line[17:20].strip()
        if not _is_element(line[76:78].strip()):
            symbol = element_of(line[12:16], residue, aligned)
            line = f"{line[:76]}{symbol:>2}{line[78:]}"
            n_elements += 1
        if not line[20:22].strip():
            line = line[:20] + chains.name_of(line[72:76].strip(), line[22:26]) + line[22:]
        lines[i] = line

    result.text = "\n".join(lines) + "\n"
    result.chain_names = chains.real_names
    result.residue_names = {stand_in: residue for residue, stand_in in short_names.items()}
    notes = []
    if n_elements:
        notes.append(f"{n_elements} atoms have no element in the file; it was derived from the atom names.")
    result.notes = (*notes, *chains.notes)
    return result


class _ChainNamer:
    """Gives the lines without a chain name one stand-in of two characters per run of lines.

    Parsers join residues of equal name and number in one chain; runs keep apart what the file keeps apart.
    """

    def __init__(self, taken: set[str]) -> None:
        self.real_names: dict[str, str] = {}
        self._taken = taken
        pairs = (a + b for a, b in product(_BASE36, repeat=2))
        self._stand_ins = (pair for pair in pairs if pair not in taken)
        self._letters = (letter for letter in ascii_uppercase + digits if letter not in taken)
        self._segment: str | None = None
        self._number = -math.inf
        self._stand_in = ""
        self._letter = ""

    def name_of(self, segment: str, residue_number: str) -> str:
        """Return the stand-in for the chain of a line, given in file order."""
        try:
            number = int(residue_number)
        except ValueError:  # hybrid-36 beyond 9999: no restart can be told
            number = 10000
        restarts = number < self._number
        if segment != self._segment or restarts:
            if not segment and (restarts or not self._letter):
                self._letter = next(self._letters, "A")
            # 1296 runs are enough for any file; beyond them runs share the last name.
            self._stand_in = next(self._stand_ins, self._stand_in)
            self.real_names[self._stand_in] = segment or self._letter
        self._segment, self._number = segment, number
        return self._stand_in

    @property
    def notes(self) -> tuple[str, ...]:
        """What was named and how."""
        if not self.real_names:
            return ()
        names = ", ".join(dict.fromkeys(self.real_names.values()))
        origin = "the chain is lettered" if self._letter else "the segment name (columns 73-76) is the chain"
        return (f"The chain column is blank; {origin}: {names}.",)


def _check_coordinates(line: str, number: int, source: str) -> None:
    fields = (line[30:38], line[38:46], line[46:54])
    try:
        finite = all(math.isfinite(float(value)) for value in fields)
    except ValueError:
        finite = False
    if not finite:
        raise InputError(
            f"{source}: line {number} has no three finite coordinates in columns 31-54: {line.rstrip()!r}. "
            "The file may be cut short or not be in PDB format; write the model again, as mmCIF if it is large."
        )


def _stand_in(index: int) -> str:
    return f"~{_BASE36[index // 36 % 36]}{_BASE36[index % 36]}"


def _is_element(symbol: str) -> bool:
    return bool(symbol) and (symbol.upper() == "D" or gemmi.Element(symbol).atomic_number > 0)
