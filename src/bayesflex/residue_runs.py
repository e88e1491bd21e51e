"""Residues in words: which of them a mask marks, as stretches along the chains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Stretches that a sentence names; the others are counted.
_MOST_NAMED = 6

#: Residues on either side that are averaged.
_WINDOW = 2


def stretches(mask: NDArray[np.bool_], labels: Sequence[str] | NDArray[np.str_]) -> list[slice]:
    """Return the runs of consecutive marked residues, none across two chains.

    Parameters
    ----------
    mask
        The residues marked, shape (n,).
    labels
        Label of each, chain first: see :attr:`bayesflex.structure.Structure.residue_labels`.
    """
    chain = _chains(labels)
    begins = mask.copy()
    begins[1:] &= ~mask[:-1] | (chain[1:] != chain[:-1])
    ends = mask.copy()
    ends[:-1] &= ~mask[1:] | (chain[1:] != chain[:-1])
    pairs = zip(np.flatnonzero(begins).tolist(), np.flatnonzero(ends).tolist(), strict=True)
    return [slice(first, last + 1) for first, last in pairs]


def averaged(values: Array, labels: Sequence[str] | NDArray[np.str_]) -> Array:
    """Return the mean of each residue's value and those of at most two beside it on either side, in its chain."""
    chain = _chains(labels)
    total, count = values.copy(), np.ones_like(values)
    for shift in range(1, _WINDOW + 1):
        same = (chain[shift:] == chain[:-shift]).astype(np.float64)
        total[:-shift] += same * values[shift:]
        total[shift:] += same * values[:-shift]
        count[:-shift] += same
        count[shift:] += same
    return np.asarray(total / count)


def in_words(mask: NDArray[np.bool_], labels: Sequence[str] | NDArray[np.str_]) -> str:
    """Return the marked residues as text: "A 3-8, B 12 and 4 more", the longest stretches where there are many.

    >>> in_words(np.array([True, True, False, True]), ["A 7", "A 8", "A 9", "A 10B"])
    'A 7-8, A 10B'
    """
    found = stretches(mask, labels)
    named = sorted(sorted(found, key=lambda part: part.start - part.stop)[:_MOST_NAMED], key=lambda part: part.start)
    texts = []
    for part in named:
        first, last = str(labels[part.start]), str(labels[part.stop - 1])
        texts.append(first if part.stop - part.start == 1 else f"{first}-{last.rpartition(' ')[2]}")
    rest = len(found) - len(named)
    return ", ".join(texts) + (f" and {rest} more" if rest else "")


def _chains(labels: Sequence[str] | NDArray[np.str_]) -> NDArray[np.str_]:
    return np.array([str(label).rpartition(" ")[0] for label in labels], dtype=np.str_)
