"""Beads: what a residue scatters, riding on the trace of CA and C4'.

The unknowns of a fit are the positions of the sites: CA of amino acids, C4' of nucleotides. The paper renders a unit
Gaussian on each; a residue's density is better described by a bead at its centroid, or by beads for the backbone and
for the side chain or base. Such beads sit in the local frame of three sites of the chain, with three coefficients each
taken from the start model, so that the unknowns stay 3N and the gradient's pull-back is exact. An ion or a small
ligand is a bead, a larger ligand several, each in the frame of the site nearest to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesflex.compiling import KERNEL
from bayesflex.protocols import Likelihood
from bayesflex.structure import Structure

Array = NDArray[np.float64]

#: Three CA are in line where |v| is below this fraction of |u|: at 0.1, an angle above 169°.
IN_LINE = 0.1


class BeadArrays(NamedTuple):
    """What compiled code needs of a bead model."""

    residue: NDArray[np.int64]
    frame: NDArray[np.int64]
    coefficients: Array
    on_ca: bool
    work: Array  # workspace, (4, 3)


#: Of beads that are the CA themselves.
NO_BEADS = BeadArrays(np.zeros(0, np.int64), np.zeros((0, 3), np.int64), np.zeros((0, 3)), True, np.zeros((4, 3)))


#: Beads of different B-factors are rendered in so many widths at most.
N_CLASSES = 4


@dataclass(frozen=True, eq=False)
class BeadModel:
    """Beads in the local frames of a trace: ``b = r_i + a u + b v + c (u × v)``.

    u = r_{k+m} - r_{k-m} and v = 2 r_k - r_{k-m} - r_{k+m}, with k the residue itself or, at the end of a chain, the
    nearest with neighbours on both sides; m is 1 for amino acids and 2 for nucleotides. The frame is a polynomial of
    the coordinates: it has no singular point.

    Parameters
    ----------
    residue
        Index of the site that each bead sits on, shape (n_beads,).
    frame
        Indices k - m, k, k + m of each bead's frame, shape (n_beads, 3).
    coefficients
        (a, b, c), shape (n_beads, 3); c in 1/Å. All zero for a bead on the CA.
    weights
        Scattering weights in units of the model's mean amino acid, shape (n_beads,).
    spread
        Root mean square distance, per direction, of what scatters from its bead, Å: that of the atoms, and that of the
        scattering density from its atom; 0 for unit CA beads.
    blur
        Standard deviation by which each bead is wider than the sharpest one, Å, shape (n_beads,); None where all are
        alike. It comes from the B-factors.
    n_others
        How many of the last beads are no part of the residue whose site they ride on: ligands and ions.
    """

    residue: NDArray[np.int64]
    frame: NDArray[np.int64]
    coefficients: Array
    weights: Array
    spread: float
    blur: Array | None = None
    n_others: int = 0

    @cached_property
    def classes(self) -> tuple[NDArray[np.int64], Array] | None:
        """The class of each bead, (n_beads,), and the blur of each class, Å; None where all beads are alike."""
        return None if self.blur is None else _classes(self.blur)

    @property
    def arrays(self) -> BeadArrays:
        """What compiled code needs, with a workspace of its own."""
        return BeadArrays(self.residue, self.frame, self.coefficients, self.on_ca, np.zeros((4, 3)))

    @cached_property
    def on_ca(self) -> bool:
        """Whether each bead is its residue's CA itself."""
        return not np.any(self.coefficients) and np.array_equal(self.residue, np.arange(len(self.residue)))

    def place(self, ca: Array) -> Array:
        """Return the bead positions, shape (n_beads, 3), of a CA trace, shape (n_ca, 3), Å."""
        if self.on_ca:
            return ca
        beads = np.empty((len(self.residue), 3))
        place_beads(ca, self.arrays, beads)
        return beads

    def pull_back(self, ca: Array, gradient: Array) -> Array:
        """Return the gradient with respect to the CA positions, (n_ca, 3), from that of the beads, (n_beads, 3)."""
        if self.on_ca:
            return gradient
        out = np.zeros_like(ca)
        pull_back_beads(ca, self.arrays, gradient, out)
        return out

    def merged(self) -> BeadModel:
        """Return the same with one bead per residue, at the centroid of those that it has.

        For blurred maps: several beads a residue make many times the pairs, and no difference there.
        """
        # What is no part of its residue stays a bead of its own.
        n_own = len(self.residue) - self.n_others
        sites = int(self.residue.max(initial=-1)) + 1
        key = np.concatenate([self.residue[:n_own], sites + np.arange(self.n_others)])
        _, first, group = np.unique(key, return_index=True, return_inverse=True)
        if len(first) == len(key):
            return self
        weights = np.bincount(group, self.weights).astype(np.float64)
        coefficients = np.stack(
            [np.bincount(group, self.weights * self.coefficients[:, k]) / weights for k in range(3)], axis=1
        )
        blur = None if self.blur is None else np.sqrt(np.bincount(group, self.weights * self.blur**2) / weights)
        return BeadModel(
            self.residue[first], self.frame[first], coefficients, weights, self.spread, blur, self.n_others
        )

    def attach(self, likelihood: Likelihood) -> Likelihood:
        """Return a likelihood of the CA positions from one of the bead positions."""
        return likelihood if self.on_ca else BeadLikelihood(self, likelihood)


class BeadLikelihood:
    """A likelihood of the CA trace through the beads that ride on it."""

    def __init__(self, beads: BeadModel, likelihood: Likelihood) -> None:
        self.name = likelihood.name
        self.beads, self.likelihood = beads, likelihood

    def clone(self) -> BeadLikelihood:
        """Return one that shares the map and owns its workspaces."""
        return BeadLikelihood(self.beads, self.likelihood.clone())

    def log_likelihood_and_gradient(self, coords: Array) -> tuple[float, Array]:
        """Return log L (nats) and its gradient by the CA positions, (n_ca, 3) in nats/Å."""
        value, gradient = self.likelihood.log_likelihood_and_gradient(self.beads.place(coords))
        if not math.isfinite(value):
            return value, np.zeros_like(coords)
        return value, self.beads.pull_back(coords, gradient)


def ca_beads(ca: Structure) -> BeadModel:
    """Return unit beads on the CA atoms: the paper's model (eq. 3)."""
    n = ca.n_atoms
    index = np.arange(n)
    return BeadModel(index, np.stack([index] * 3, axis=1), np.zeros((n, 3)), np.ones(n), 0.0)


def frame_directions(ca: Array, frame: NDArray[np.int64]) -> tuple[Array, Array]:
    """Return u and v of frames (n, 3) of a CA trace (n_ca, 3), Å, each of shape (n, 3): see :class:`BeadModel`."""
    before, middle, after = (ca[frame[:, k]] for k in range(3))
    return after - before, 2.0 * middle - before - after


def frame_coefficients(ca: Array, residue: NDArray[np.int64], frame: NDArray[np.int64], centre: Array) -> Array:
    """Solve for (a, b, c) of each bead; the smallest solution where the three CA are (nearly) in line.

    Where they are, v is short and its direction means nothing: a bead held by it would swing about as the CA jitter.
    Such a bead keeps only its part along u.
    """
    u, v = frame_directions(ca, frame)
    length = np.maximum(np.linalg.norm(u, axis=1), 1e-12)[:, None]
    basis = np.stack([u, v, np.cross(u, v) / length], axis=2)  # (n_beads, 3, 3), columns of like length, Å
    solution = np.einsum("nij,nj->ni", np.linalg.pinv(basis, rcond=IN_LINE), centre - ca[residue])
    solution[:, 2] /= length[:, 0]
    return solution


def _classes(blur: Array) -> tuple[NDArray[np.int64], Array]:
    """Return classes of like squares of the blur, ``N_CLASSES`` at most, and the mean blur of each."""
    square = blur**2
    edges = np.linspace(square.min(), square.max(), N_CLASSES + 1)[1:-1]
    found, kind = np.unique(np.searchsorted(edges, square, side="right"), return_inverse=True)
    mean = np.bincount(kind, square, minlength=len(found)) / np.bincount(kind, minlength=len(found))
    return kind.astype(np.int64), np.sqrt(mean)


@njit(**KERNEL)
def place_beads(ca, model, beads):  # type: ignore[no-untyped-def]
    """Set the bead positions (n_beads, 3) from those of the CA."""
    residue, frame, coefficients = model.residue, model.frame, model.coefficients
    for n in range(len(residue)):
        i, before, middle, after = residue[n], frame[n, 0], frame[n, 1], frame[n, 2]
        a, b, c = coefficients[n, 0], coefficients[n, 1], coefficients[n, 2]
        ux, uy, uz = ca[after, 0] - ca[before, 0], ca[after, 1] - ca[before, 1], ca[after, 2] - ca[before, 2]
        vx = 2.0 * ca[middle, 0] - ca[before, 0] - ca[after, 0]
        vy = 2.0 * ca[middle, 1] - ca[before, 1] - ca[after, 1]
        vz = 2.0 * ca[middle, 2] - ca[before, 2] - ca[after, 2]
        beads[n, 0] = ca[i, 0] + a * ux + b * vx + c * (uy * vz - uz * vy)
        beads[n, 1] = ca[i, 1] + a * uy + b * vy + c * (uz * vx - ux * vz)
        beads[n, 2] = ca[i, 2] + a * uz + b * vz + c * (ux * vy - uy * vx)


@njit(**KERNEL)
def pull_back_beads(ca, model, gradient, out):  # type: ignore[no-untyped-def]
    """Add to out (n_ca, 3) what a gradient by the bead positions, (n_beads, 3), is by those of the CA."""
    residue, frame, coefficients, work = model.residue, model.frame, model.coefficients, model.work
    u, v, gu, gv = work[0], work[1], work[2], work[3]
    for n in range(len(residue)):
        before, middle, after = frame[n, 0], frame[n, 1], frame[n, 2]
        a, b, c = coefficients[n, 0], coefficients[n, 1], coefficients[n, 2]
        g = gradient[n]
        for k in range(3):
            u[k] = ca[after, k] - ca[before, k]
            v[k] = 2.0 * ca[middle, k] - ca[before, k] - ca[after, k]
        # g·(u × v) = u·(v × g) = v·(g × u)
        gu[0] = a * g[0] + c * (v[1] * g[2] - v[2] * g[1])
        gu[1] = a * g[1] + c * (v[2] * g[0] - v[0] * g[2])
        gu[2] = a * g[2] + c * (v[0] * g[1] - v[1] * g[0])
        gv[0] = b * g[0] + c * (g[1] * u[2] - g[2] * u[1])
        gv[1] = b * g[1] + c * (g[2] * u[0] - g[0] * u[2])
        gv[2] = b * g[2] + c * (g[0] * u[1] - g[1] * u[0])
        for k in range(3):
            out[residue[n], k] += g[k]
            out[after, k] += gu[k] - gv[k]
            out[before, k] -= gu[k] + gv[k]
            out[middle, k] += 2.0 * gv[k]
