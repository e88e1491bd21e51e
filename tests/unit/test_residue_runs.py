"""Residues in words: stretches end where a chain does, and the longest are named."""

from __future__ import annotations

import numpy as np

from bayesflex.residue_runs import in_words, stretches

LABELS = [f"A {n}" for n in range(1, 6)] + [f"B {n}" for n in range(1, 6)]


def marked(*indices: int) -> np.ndarray:
    return np.isin(np.arange(10), indices)


def test_a_stretch_ends_with_its_chain():
    assert stretches(marked(3, 4, 5, 6), LABELS) == [slice(3, 5), slice(5, 7)]
    assert in_words(marked(3, 4, 5, 6), LABELS) == "A 4-5, B 1-2"


def test_first_and_last_residues():
    assert stretches(marked(0, 9), LABELS) == [slice(0, 1), slice(9, 10)]
    assert stretches(marked(*range(10)), ["A 1"] * 10) == [slice(0, 10)]
    assert stretches(marked(), LABELS) == []
    assert in_words(marked(), LABELS) == ""


def test_the_longest_stretches_are_named_in_their_order():
    labels = [f"A {n}" for n in range(40)]
    mask = np.zeros(40, dtype=bool)
    mask[[0, 2, 4, 6, 8, 10, 12]] = True
    mask[20:30] = True
    assert in_words(mask, labels) == "A 0, A 2, A 4, A 6, A 8, A 20-29 and 2 more"
