"""Copies of a model side by side, as large as one likes: what the scaling benchmarks are run on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bayesflex.errors import InputError
from bayesflex.structure import Structure

Array = NDArray[np.float64]

#: Closest approach of CA atoms of different chains, Å.
CHAIN_CONTACT = 6.0

# Copies are brought together in steps of so much, Å.
_STEP = 0.25


def copies_on_lattice(unit: Structure, n_copies: int) -> Structure:
    """Return copies of a CA trace that fill a cube and touch their neighbours along x, y and z.

    Each copy follows one that it touches, so that beads close in memory are close in space. Chains are renamed A, B,
    ..., AA, ...; the origin is the centroid.

    Parameters
    ----------
    unit
        CA trace of the model to copy.
    n_copies
        How many.

    Raises
    ------
    InputError
        If n_copies is not positive.
    """
    if not n_copies >= 1:
        raise InputError(f"n_copies is {n_copies}; expected at least 1")
    n = unit.n_atoms
    period = _period(unit.coords)
    cells = np.array(list(serpentine(n_copies, period)), dtype=np.float64)
    coords = (cells[:, None, :] * period + unit.coords).reshape(-1, 3)  # (n_copies, n, 3) -> (n_copies n, 3)
    starts = np.concatenate([[True], unit.chain[1:] != unit.chain[:-1]])
    chain = np.cumsum(starts) - 1
    names = np.array([chain_name(index) for index in range(n_copies * (int(chain[-1]) + 1))])
    whole = unit.select(np.tile(np.arange(n), n_copies))
    return replace(
        whole,
        coords=coords - coords.mean(axis=0),
        chain=names[np.repeat(np.arange(n_copies), n) * (chain[-1] + 1) + np.tile(chain, n_copies)],
        name=f"{n_copies} copies of {unit.name}",
    )


def _period(coords: Array) -> Array:
    """Return the shifts along x, y and z, shape (3,), at which a copy just touches those already placed."""
    tree = cKDTree(coords)
    period = np.zeros(3)
    for axis in range(3):
        # Neighbours aslant, in the directions done so far: a copy may meet one of those first.
        steps = [list(step) + [0] * (3 - axis) for step in itertools.product((-1, 0, 1), repeat=axis)]
        aslant = np.array(steps) * period
        step = _STEP * np.eye(3)[axis]
        period[axis] = np.ptp(coords[:, axis]) + CHAIN_CONTACT
        shift = np.eye(3)[axis] * period
        while not any(_touch(tree, coords + shift - step + other) for other in aslant):
            shift -= step
        period[axis] = shift[axis]
    return period


def _touch(tree: cKDTree, coords: Array) -> bool:
    return bool(np.min(tree.query(coords, distance_upper_bound=CHAIN_CONTACT)[0]) < CHAIN_CONTACT)


def serpentine(n_cells: int, period: Array | None = None) -> Iterator[tuple[int, int, int]]:
    """Yield so many cells of a box, each next to the one before.

    Parameters
    ----------
    n_cells
        How many.
    period
        Lengths of a cell along x, y and z: the box is nearly a cube. None for cells that are cubes.
    """
    size = np.ones(3) if period is None else period
    edge = (n_cells * float(np.prod(size))) ** (1.0 / 3.0)
    n_x, n_y = (max(round(edge / float(length)), 1) for length in size[:2])
    for count in range(n_cells):
        z, in_layer = divmod(count, n_x * n_y)
        y, x = divmod(in_layer, n_x)
        row = z * n_y + y
        if z % 2:
            y = n_y - 1 - y
        yield (n_x - 1 - x if row % 2 else x), y, z


def chain_name(index: int) -> str:
    """Return A to Z, then AA, AB, ..."""
    name = ""
    index += 1
    while index:
        index, letter = divmod(index - 1, 26)
        name = chr(ord("A") + letter) + name
    return name
