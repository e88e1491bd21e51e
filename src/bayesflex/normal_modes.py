"""Normal modes of an elastic network on CA: the directions in which a protein moves at little cost.

Modes are unit vectors over all beads; an amplitude a (Å) moves the beads by a·A, that is by |a|/√N in the root mean
square. The network is not part of the posterior: it only proposes directions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesflex.chain import bonded_to_next, extra_reach, pairs_along_chain
from bayesflex.config import FIRST_MODE
from bayesflex.elastic_network import CHAIN_STIFFNESS, listing, network_hessian, require_connected
from bayesflex.errors import ConfigError, InputError
from bayesflex.mode_solvers import SOLVERS, ZERO, Network, chosen_method
from bayesflex.structure import Structure

Array = NDArray[np.float64]

#: Modes below this collectivity move a few residues only, and are a sign of a network that is too thin.
LOW_COLLECTIVITY = 0.05


@dataclass(frozen=True, eq=False)
class NormalModes:
    """The lowest internal modes of one structure.

    Parameters
    ----------
    vectors
        Shape (n_modes, n_beads, 3); as rows of 3 n_beads numbers orthonormal, and orthogonal to moving as one.
        The component of largest size is positive.
    eigenvalues
        Stiffness of each mode in units of a spring's, ascending, shape (n_modes,).
    numbers
        Counted as the field does, from 7: the first six move the whole. Shape (n_modes,).
    collectivity
        Fraction of the beads that take part, 1/n_beads to 1, shape (n_modes,).
    cutoff
        Of the network, Å.
    notes
        Sentences the user should read.
    """

    vectors: Array
    eigenvalues: Array
    numbers: NDArray[np.int64]
    collectivity: Array
    cutoff: float
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n_modes, n_beads = self.vectors.shape[:2]
        if self.vectors.shape != (n_modes, n_beads, 3):
            raise InputError(f"modes have shape {self.vectors.shape}, expected (n_modes, n_beads, 3)")
        for name in ("eigenvalues", "numbers", "collectivity"):
            if len(getattr(self, name)) != n_modes:
                raise InputError(f"modes: {len(getattr(self, name))} {name} for {n_modes} vectors")

    @property
    def n_modes(self) -> int:
        """Number of modes."""
        return len(self.vectors)

    @property
    def n_beads(self) -> int:
        """Number of beads."""
        return int(self.vectors.shape[1])

    def select(self, numbers: Iterable[int]) -> NormalModes:
        """Return the modes of these numbers, in that order.

        Raises
        ------
        ConfigError
            If a number is not among them.
        """
        wanted = list(numbers)
        missing = sorted(set(wanted) - set(self.numbers.tolist()))
        if missing:
            raise ConfigError(
                f"mode {missing[0]} is not among the computed modes {self.numbers.min()} to {self.numbers.max()}; "
                f"modes are numbered from {FIRST_MODE}"
            )
        rows = [int(np.flatnonzero(self.numbers == number)[0]) for number in wanted]
        return NormalModes(
            self.vectors[rows],
            self.eigenvalues[rows],
            self.numbers[rows],
            self.collectivity[rows],
            self.cutoff,
            self.notes,
        )

    def to_amplitudes(self, displacement: Array) -> Array:
        """Return the amplitudes (Å), shape (n_modes,), of a displacement (Å), shape (n_beads, 3): a_m = A_m · d."""
        return np.tensordot(self.vectors, displacement, axes=2)

    def to_displacement(self, amplitudes: Array) -> Array:
        """Return the displacement (Å), shape (n_beads, 3), of amplitudes (Å), shape (n_modes,): Σ a_m A_m."""
        return np.tensordot(amplitudes, self.vectors, axes=1)

    def square_fluctuations(self) -> Array:
        """Return Σ |A_m|² / λ_m of each bead, shape (n_beads,): relative B-factors of these modes."""
        fluctuations: Array = np.einsum("mnk,m->n", self.vectors**2, 1.0 / self.eigenvalues)
        return fluctuations


def overlap(mode: Array, displacement: Array) -> float:
    """Return |A · d| / (|A| |d|): how much of a displacement's direction a mode holds, 0 to 1.

    After Marques and Sanejouand, Proteins 23 (1995) 557. Superpose the two structures first: a displacement that
    turns the whole is in no mode.

    Parameters
    ----------
    mode, displacement
        Shape (n_beads, 3). A displacement of zero has overlap 0.
    """
    norm = float(np.linalg.norm(mode) * np.linalg.norm(displacement))
    return abs(float(np.sum(mode * displacement))) / norm if norm > 0.0 else 0.0


def collectivity(vectors: Array) -> Array:
    """Return exp(-Σ p log p) / n_beads, p = |A_n|² of a unit vector: the fraction of beads that a mode moves.

    Brüschweiler, J. Chem. Phys. 102 (1995) 3396, eq. 5, without masses.

    Parameters
    ----------
    vectors
        Shape (n_modes, n_beads, 3).

    Returns
    -------
    Shape (n_modes,).
    """
    share = np.sum(vectors**2, axis=2)
    share = share / share.sum(axis=1, keepdims=True)
    entropy = -np.sum(share * np.log(np.where(share > 0.0, share, 1.0)), axis=1)
    shares: Array = np.exp(entropy) / vectors.shape[1]
    return shares


def rigid_motions(coords: Array) -> Array:
    """Return an orthonormal basis of the motions as one, three shifts and three turns, shape (6, n_beads, 3)."""
    n = len(coords)
    centred = coords - coords.mean(axis=0)
    shifts = np.broadcast_to(np.eye(3)[:, None, :], (3, n, 3))
    turns = np.cross(np.eye(3)[:, None, :], centred[None])
    basis, _ = np.linalg.qr(np.concatenate([shifts, turns]).reshape(6, 3 * n).T)
    return np.ascontiguousarray(basis.T).reshape(6, n, 3)


def normal_modes(
    coords: Array,
    n_modes: int,
    cutoff: float,
    *,
    links: NDArray[np.integer] | None = None,
    link_stiffness: float = CHAIN_STIFFNESS,
    reach: Array | None = None,
    names: NDArray[np.str_] | None = None,
    method: str = "auto",
) -> NormalModes:
    """Return the lowest internal modes of the elastic network of a structure.

    The six motions as one are known in closed form: they are projected out, and a seventh mode without cost is an
    error. The rest come from Lanczos iterations on the inverse, from a fixed start; those of large networks from
    rotation-translation blocks (Tama et al., Proteins 41 (2000) 1), whose modes are improved in the space of all beads
    until they are modes of the network (LOBPCG: Knyazev, SIAM J. Sci. Comput. 23 (2001) 517). A symmetric assembly has
    degenerate modes, of which any rotation is as good.

    Parameters
    ----------
    coords
        Positions, shape (n_beads, 3), Å.
    n_modes
        How many.
    cutoff
        Distance up to which beads are joined, Å.
    links
        Pairs joined whatever their distance, for example along the chain, shape (n_links, 2), or None.
    link_stiffness
        Stiffness of these in units of the others'.
    reach
        What each bead adds to the cut-off, Å, shape (n_beads,); None for nothing.
    names
        What beads are called in messages, shape (n_beads,); None counts them from 1.
    method
        "dense", "factor" (Lanczos iterations with a sparse factor), "blocks", or "auto": the fastest, by counting beads
        and springs. They agree within 1e-6 of an eigenvalue.

    Raises
    ------
    ConfigError
        If there are not so many modes, the cut-off is not positive, or there is no such method.
    InputError
        If a coordinate is not finite, or the network leaves beads loose.
    """
    n = len(coords)
    available = 3 * n - 6
    if not 1 <= n_modes <= available:
        raise ConfigError(
            f"modes: {n_modes} asked for, but {n} sites (CA or C4') have {max(available, 0)} internal modes (3N - 6); "
            f"ask for 1 to {available}, numbered {FIRST_MODE} to {FIRST_MODE - 1 + available}"
            if available > 0
            else f"modes: {n_modes} asked for, but {n} sites (CA or C4') have none (3N - 6 is {available}); fit "
            "local displacements"
        )
    if not cutoff > 0.0:
        raise ConfigError(f"network cut-off is {cutoff} Å, expected a positive number, for example 10")
    if method not in ("auto", *SOLVERS):
        raise ConfigError(f"modes: expected method 'auto' or one of {', '.join(SOLVERS)}, got {method!r}")
    labels = np.arange(1, n + 1).astype(str) if names is None else names
    hessian = network_hessian(coords, cutoff, links, link_stiffness, reach)
    require_connected(hessian, cutoff, labels)
    rigid = rigid_motions(np.asarray(coords, dtype=np.float64)).reshape(6, 3 * n)
    network = Network(np.asarray(coords, dtype=np.float64), hessian, rigid, cutoff)
    vectors, notes = SOLVERS[chosen_method(network, n_modes) if method == "auto" else method](network, n_modes)
    eigenvalues = np.einsum("mk,mk->m", vectors, (hessian @ vectors.T).T)
    order = np.argsort(eigenvalues, kind="stable")
    vectors, eigenvalues = vectors[order], eigenvalues[order]
    _require_stiff(vectors[eigenvalues < ZERO * network.scale], cutoff, labels)
    largest = np.argmax(np.abs(vectors), axis=1)
    vectors *= np.sign(vectors[np.arange(n_modes), largest])[:, None]
    vectors = vectors.reshape(n_modes, n, 3)
    numbers = np.arange(FIRST_MODE, FIRST_MODE + n_modes)
    shares = collectivity(vectors)
    notes = (*notes, *_notes(numbers, shares, cutoff))
    return NormalModes(vectors, eigenvalues, numbers, shares, cutoff, notes)


def structure_modes(ca: Structure, n_modes: int, cutoff: float) -> NormalModes:
    """Return the lowest modes of a trace of CA and C4' whose chains hold together at any cut-off.

    Beads up to three bonds apart are joined by springs, stiffer than the others, since a tail with few neighbours
    would otherwise swing freely: at 8 Å the lowest modes of p97 are then collective, and at 10 Å hardly change.
    Nucleotides reach further than the cut-off by ``chain.NUCLEOTIDE_REACH`` each: strands are joined, and proteins that
    touch through DNA alone are one network.

    Parameters
    ----------
    ca
        Trace of the model.
    n_modes
        How many modes, numbered from 7.
    cutoff
        Of the elastic network, Å.

    Raises
    ------
    ConfigError
        If there are not so many modes, or the cut-off is not positive.
    InputError
        If a coordinate is not finite, or the network leaves residues loose.
    """
    links = pairs_along_chain(bonded_to_next(ca))
    return normal_modes(ca.coords, n_modes, cutoff, links=links, reach=extra_reach(ca), names=ca.residue_labels)


def _require_stiff(free: Array, cutoff: float, labels: NDArray[np.str_]) -> None:
    """Raise InputError where internal motions cost nothing, naming the beads that move in them."""
    if len(free) == 0:
        return
    share = np.sum(free.reshape(len(free), -1, 3) ** 2, axis=(0, 2))
    order = np.argsort(-share, kind="stable")
    loose = np.sort(order[share[order] > 0.1 * share.max()])
    raise InputError(
        f"elastic network: at a cut-off of {cutoff:g} Å {len(free)} or more internal motions cost nothing, beside the "
        f"six of the whole; loose are residues {listing(labels, loose)}. Raise the cut-off, or remove them from the "
        "model"
    )


def _notes(numbers: NDArray[np.int64], shares: Array, cutoff: float) -> tuple[str, ...]:
    low = numbers[shares < LOW_COLLECTIVITY]
    if len(low) == 0:
        return ()
    listed = listing(low.astype(str), np.arange(len(low)))
    return (
        f"modes {listed} have a collectivity below {LOW_COLLECTIVITY:g}: at a cut-off of {cutoff:g} Å they move a few "
        "residues only. A larger network cut-off often removes such modes",
    )
