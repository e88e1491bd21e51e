"""Matching: which residue of a reference is which residue of a model.

Works on traces of CA and C4', by numbers where they agree and by sequence where they do not.
Superposition and distances are in ``geometry``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import gemmi
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from bayesflex.errors import InputError
from bayesflex.structure import Structure

Names = NDArray[np.str_]
Indices = NDArray[np.int64]  # (n,)
Pairs = NDArray[np.int64]  # (n, 2): model index, reference index

#: A match must cover this share of the smaller trace, and its names must agree in this share of the matched.
_ENOUGH = 0.5

#: Identical residues less twice the inner gaps, over the shorter sequence: unrelated sequences reach 0.12 in
#: BLOSUM62 alignments, proteins of equal fold and 30 % identity about 0.2.
_LEAST_SIMILARITY = 0.2

#: The same of nucleotides, of which every fourth is the same by chance and nearly half in an alignment.
_LEAST_NUCLEOTIDE_SIMILARITY = 0.7

#: The same in residues: ten residues align with half of them identical by chance.
_LEAST_IDENTICAL = 8

#: Names that tell nothing of the sequence: models traced before the sequence was known.
_NEUTRAL_NAMES = ("ALA", "GLY", "UNK")

#: Other names of the standard amino acids: CHARMM's and AMBER's protonation states, common modifications.
_PLAIN_NAMES = {"MSE": "MET", "HSD": "HIS", "HSE": "HIS", "HSP": "HIS", "HID": "HIS", "HIE": "HIS", "HIP": "HIS"}
_PLAIN_NAMES |= {"CYX": "CYS", "CYM": "CYS", "ASH": "ASP", "GLH": "GLU", "LYN": "LYS", "LSN": "LYS"}
#: Those of nucleotides, DNA and RNA alike: CHARMM's, AMBER's, and the PDB's before 2008.
_PLAIN_NAMES |= {"DA": "A", "DC": "C", "DG": "G", "DT": "T", "DU": "U", "ADE": "A", "CYT": "C", "GUA": "G"}
_PLAIN_NAMES |= {"THY": "T", "URA": "U"}
_PLAIN_NAMES |= {f"{sugar}{base}{end}": base for sugar in ("D", "R", "") for base in "ACGTU" for end in "35"}
_PLAIN_NAMES |= {"SEP": "SER", "TPO": "THR", "PTR": "TYR", "CSO": "CYS", "MLY": "LYS", "M3L": "LYS"}


@dataclass(frozen=True, eq=False)
class ResidueMatch:
    """Residues of two traces that are the same residue.

    Parameters
    ----------
    model_index, reference_index
        Paired indices into the traces, shape (n_matched,), rising in ``model_index``.
    method
        "number" (chain, residue number and insertion code), "number, chains paired" (the chains have other
        names) or "sequence" (alignment).
    n_name_agree
        Matched residues whose names agree, modified and protonated forms counted as the plain residue.
    message
        One sentence for the user: how many residues matched and how.
    """

    model_index: NDArray[np.int64]
    reference_index: NDArray[np.int64]
    method: str
    n_name_agree: int
    message: str


def match_residues(model_ca: Structure, reference_ca: Structure) -> ResidueMatch:
    """Pair the residues of two traces.

    Tried in turn, until half of the shorter trace is matched with half of its names agreeing: chain, number and
    insertion code; number and insertion code with chains paired so that most names agree; alignment of the
    sequences (BLOSUM62) with chains paired so that most residues are identical. Among equally good chains, that of
    the same name is taken, then the nearest in space. If none succeeds, an alignment that covers less is accepted, and
    numbers alone where one of the two has no sequence (a trace of alanines, say).

    Raises
    ------
    InputError
        If the two have nothing in common.
    """
    model_names, reference_names = _plain_names(model_ca), _plain_names(reference_ca)

    def agreeing(pairs: Pairs) -> int:
        return int(np.count_nonzero(model_names[pairs[:, 0]] == reference_names[pairs[:, 1]]))

    def by_number(model: Indices, reference: Indices) -> Pairs:
        return _pair_keys(_numbers(model_ca, model), _numbers(reference_ca, reference), model, reference)

    def by_sequence(model: Indices, reference: Indices) -> Pairs:
        return _align(model_names[model], reference_names[reference], model, reference)

    attempts = {
        "number": lambda: _by_chain_and_number(model_ca, reference_ca),
        "number, chains paired": lambda: _pair_chains(model_ca, reference_ca, by_number, agreeing),
        "sequence": lambda: _pair_chains(model_ca, reference_ca, by_sequence, agreeing),
    }
    n_shorter = min(model_ca.n_atoms, reference_ca.n_atoms)
    found = {}
    for method, attempt in attempts.items():
        pairs = found[method] = attempt()
        n_agree = agreeing(pairs)
        if len(pairs) >= _ENOUGH * n_shorter and n_agree >= _ENOUGH * len(pairs):
            return _result(model_ca, reference_ca, pairs, method, n_agree)
    if len(found["sequence"]):
        return _result(model_ca, reference_ca, found["sequence"], "sequence", agreeing(found["sequence"]))
    nameless = any(np.mean(np.isin(names, _NEUTRAL_NAMES)) > _ENOUGH for names in (model_names, reference_names))
    for method in ("number", "number, chains paired"):
        if nameless and len(found[method]) >= _ENOUGH * n_shorter:
            return _result(model_ca, reference_ca, found[method], method, agreeing(found[method]))
    raise InputError(
        f"{reference_ca.name} cannot be matched to {model_ca.name}: {len(found['number'])} of {n_shorter} residues "
        f"have chain and number in common, {agreeing(found['number'])} of them the name, and the sequences do not "
        "align. Give a reference of the same molecule, "
        "or number its residues as in the model."
    )


def _result(model: Structure, reference: Structure, pairs: Pairs, method: str, n_agree: int) -> ResidueMatch:
    ways = {
        "number": "by chain, residue number and insertion code",
        "number, chains paired": f"by residue number, {_chain_pairs(model, reference, pairs)}",
        "sequence": f"by sequence alignment, {_chain_pairs(model, reference, pairs)}",
    }
    message = (
        f"{len(pairs)} residues of {reference.name} ({reference.n_atoms}) match {model.name} ({model.n_atoms}) "
        f"{ways[method]}; {n_agree} names agree."
    )
    if n_agree < _ENOUGH * len(pairs):
        message += " One of the two has no sequence: check that they are the same protein."
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    return ResidueMatch(pairs[:, 0], pairs[:, 1], method, n_agree, message)


def _chain_pairs(model: Structure, reference: Structure, pairs: Pairs) -> str:
    names = dict.fromkeys(zip(model.chain[pairs[:, 0]].tolist(), reference.chain[pairs[:, 1]].tolist(), strict=True))
    return "chains " + ", ".join(f"{a} with {b}" for a, b in names)


def _plain_names(trace: Structure) -> Names:
    return np.array([_PLAIN_NAMES.get(name, name) for name in trace.residue_name.tolist()])


def _numbers(trace: Structure, indices: Indices) -> list[tuple[int, str]]:
    return list(zip(trace.residue_number[indices].tolist(), trace.insertion_code[indices].tolist(), strict=True))


def shared_residues(trace: Structure, a: Indices, b: Indices) -> Pairs:
    """Return the pairs of residues that two chains of a trace share, by number, insertion code and name.

    Parameters
    ----------
    trace
        CA (or C4') trace.
    a, b
        Indices of the residues of either chain, shapes (n_a,) and (n_b,).

    Returns
    -------
    ndarray
        Indices, shape (n_shared, 2), in the order of ``a``.
    """
    keys_a, keys_b = (
        list(zip(_numbers(trace, chain), trace.residue_name[chain].tolist(), strict=True)) for chain in (a, b)
    )
    return _pair_keys(keys_a, keys_b, a, b)


def _by_chain_and_number(model: Structure, reference: Structure) -> Pairs:
    every_model, every_reference = np.arange(model.n_atoms), np.arange(reference.n_atoms)
    model_keys = list(zip(model.chain.tolist(), _numbers(model, every_model), strict=True))
    reference_keys = list(zip(reference.chain.tolist(), _numbers(reference, every_reference), strict=True))
    return _pair_keys(model_keys, reference_keys, every_model, every_reference)


def _pair_keys(
    model_keys: Sequence[Hashable], reference_keys: Sequence[Hashable], model: Indices, reference: Indices
) -> Pairs:
    """Return the pairs of indices whose keys are equal; of a key that comes twice, its first."""
    place: dict[Hashable, int] = {}
    for key, index in zip(reference_keys, reference.tolist(), strict=True):
        place.setdefault(key, index)
    # pop: each residue of the reference is matched once
    pairs = [(index, place.pop(key)) for key, index in zip(model_keys, model.tolist(), strict=True) if key in place]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _pair_chains(
    model: Structure,
    reference: Structure,
    pair: Callable[[Indices, Indices], Pairs],
    agreeing: Callable[[Pairs], int],
) -> Pairs:
    """Return the pairs of residues for the assignment of chains to chains with most names agreeing."""
    model_chains = [np.flatnonzero(model.chain == name) for name in dict.fromkeys(model.chain.tolist())]
    reference_chains = [np.flatnonzero(reference.chain == name) for name in dict.fromkeys(reference.chain.tolist())]
    pairs = [[pair(a, b) for b in reference_chains] for a in model_chains]
    score = np.zeros((len(model_chains), len(reference_chains)))
    for i, a in enumerate(model_chains):
        for j, b in enumerate(reference_chains):
            distance = np.linalg.norm(model.coords[a].mean(axis=0) - reference.coords[b].mean(axis=0))
            # Less than one residue in all, so that it decides among equals only.
            preference = 0.5 * (model.chain[a[0]] == reference.chain[b[0]]) + 0.25 / (1.0 + distance)
            score[i, j] = agreeing(pairs[i][j]) + preference / len(model_chains)
    chosen = [pairs[i][j] for i, j in zip(*linear_sum_assignment(score, maximize=True), strict=True)]
    return np.concatenate(chosen)


def _align(model_names: Names, reference_names: Names, model: Indices, reference: Indices) -> Pairs:
    """Return the pairs of indices of two aligned sequences, none where they are not similar."""
    of_nucleotides = np.mean(np.char.str_len(model_names) == 1) > 0.5
    scoring = gemmi.AlignmentScoring("s" if of_nucleotides else "b")  # identities, BLOSUM62
    cigar = gemmi.align_string_sequences(model_names.tolist(), reference_names.tolist(), [], scoring).cigar_str()
    i = j = n_gaps = 0
    blocks = [np.zeros((0, 2), dtype=np.int64)]
    steps = [(int(length), kind) for length, kind in re.findall(r"(\d+)([MID])", cigar)]
    for place, (length, kind) in enumerate(steps):
        if kind == "M":
            blocks.append(np.stack([np.arange(i, i + length), np.arange(j, j + length)], axis=1))
        elif 0 < place < len(steps) - 1:
            n_gaps += 1
        # I: residues of the query (the model) alone; D: of the target (the reference) alone
        i += length if kind in "MI" else 0
        j += length if kind in "MD" else 0
    local = np.concatenate(blocks)
    n_identical = np.count_nonzero(model_names[local[:, 0]] == reference_names[local[:, 1]])
    least = _LEAST_NUCLEOTIDE_SIMILARITY if of_nucleotides else _LEAST_SIMILARITY
    if n_identical - 2 * n_gaps < max(least * min(len(model), len(reference)), _LEAST_IDENTICAL):
        return np.zeros((0, 2), dtype=np.int64)
    return np.stack([model[local[:, 0]], reference[local[:, 1]]], axis=1)
