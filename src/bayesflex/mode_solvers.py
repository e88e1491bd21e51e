"""How the lowest modes of an elastic network are found: all at once, by a sparse factor, or by blocks.

Each solver is given the positions, the Hessian of the network and its rigid motions, and returns modes as rows,
orthonormal and orthogonal to the rigid motions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh

from bayesflex.block_eigensolver import lowest_eigenvectors
from bayesflex.block_preconditioner import BlockPreconditioner, reordered
from bayesflex.config import FIRST_MODE
from bayesflex.elastic_network import shifted_factor
from bayesflex.errors import ConfigError
from bayesflex.rotation_translation_blocks import make_blocks

Array = NDArray[np.float64]

#: In units of the Hessian's mean diagonal: eigenvalues below are zero (the lowest true ones of large assemblies are
#: 1e-7, rounding leaves 1e-14).
ZERO = 1e-9

# In the same units, the shift that makes the matrix positive definite.
_SHIFT = 1e-6
# Up to this many beads a full diagonalisation is as fast as an iterative one.
_DENSE_BEADS = 60
# From this many entries of the Hessian (of 3 × 3 numbers) on, and from this many per mode, blocks are faster than a
# factor. p97 with its 4368 CA has 82,000 at 10 Å and 254,000 at 15 Å.
_LARGE, _LARGE_PER_MODE = 60_000, 2500
# Beads per block, and the number of blocks beyond which blocks grow instead.
_BLOCK_SIZE, _MOST_BLOCKS = 8, 2500
# Extra modes that are searched for, so that the last ones asked for converge as fast as the others.
_EXTRA_MODES = 6
# A mode has converged once |H v - λ v| is below this fraction of λ. The error of λ is about its square.
_TOLERANCE = 1e-3
_MAX_ITERATIONS = 100


class Network(NamedTuple):
    """What the modes are of."""

    coords: Array  # (n_beads, 3), Å
    hessian: sparse.bsr_matrix  # (3 n_beads, 3 n_beads)
    rigid: Array  # (6, 3 n_beads), orthonormal
    cutoff: float  # Å

    @property
    def scale(self) -> float:
        """Mean of the Hessian's diagonal."""
        return float(self.hessian.diagonal().mean())


class Solution(NamedTuple):
    """The lowest modes, and what the user should know about how they were found."""

    vectors: Array  # (n_modes, 3 n_beads)
    notes: tuple[str, ...] = ()


def chosen_method(network: Network, n_modes: int) -> str:
    """Return the name in ``SOLVERS`` of what is fastest, by counting."""
    n = len(network.coords)
    if n <= _DENSE_BEADS or 4 * n_modes > 3 * n:
        return "dense"
    return "blocks" if len(network.hessian.indices) >= max(_LARGE, _LARGE_PER_MODE * n_modes) else "factor"


def solve_dense(network: Network, n_modes: int) -> Solution:
    """Diagonalise the whole matrix, with the rigid motions lifted out of the way."""
    lifted = network.hessian.toarray() + (1e3 * network.scale) * network.rigid.T @ network.rigid
    _, columns = scipy.linalg.eigh(lifted, subset_by_index=(0, n_modes - 1))
    return Solution(_orthonormal(columns, network.rigid))


def solve_by_factor(network: Network, n_modes: int) -> Solution:
    """Lanczos iterations on (H + shift)⁻¹, from the factors of H + shift, beside the rigid motions."""
    hessian, rigid = network.hessian, network.rigid
    size = hessian.shape[0]
    shift = _SHIFT * network.scale
    factor = shifted_factor(hessian.tocsc(), shift)

    def apply(vector: Array) -> Array:
        solution = factor.solve(vector.ravel())
        solution -= rigid.T @ (rigid @ solution)
        return solution

    start = np.random.default_rng(0).standard_normal(size)  # fixed: the same modes every time
    start -= rigid.T @ (rigid @ start)
    inverse = LinearOperator((size, size), matvec=apply, dtype=np.float64)
    _, columns = eigsh(hessian, k=n_modes, sigma=-shift, OPinv=inverse, v0=start)
    return Solution(_orthonormal(columns, rigid))


def solve_by_blocks(network: Network, n_modes: int) -> Solution:
    """Modes of rotation-translation blocks, improved in the space of all beads until they are modes of the network.

    Memory and time grow little faster than the number of beads: no factor of the whole Hessian is needed.
    """
    n = len(network.coords)
    blocks = make_blocks(network.coords, max(_BLOCK_SIZE, -(-n // _MOST_BLOCKS)), network.cutoff)
    if 6 * blocks.n_blocks < n_modes + _EXTRA_MODES + 6:
        raise ConfigError(
            f"modes: blocks: {n} beads are too few for {n_modes} modes by rotation-translation blocks; use 'auto'"
        )
    beads = (3 * blocks.order[:, None] + np.arange(3)).ravel()
    rigid = np.ascontiguousarray(network.rigid[:, beads].T)
    preconditioner = BlockPreconditioner(
        reordered(network.hessian, blocks.order), network.coords[blocks.order], blocks, _SHIFT * network.scale
    )
    found = lowest_eigenvectors(
        preconditioner.multiply,
        preconditioner,
        preconditioner.coarse_modes(rigid, n_modes + _EXTRA_MODES),
        rigid,
        n_modes,
        _TOLERANCE,
        ZERO * network.scale,
        _MAX_ITERATIONS,
    )
    columns = np.empty((3 * n, n_modes))
    columns[beads] = found.vectors[:, :n_modes]
    error = found.residuals[:n_modes] / np.maximum(found.values[:n_modes], ZERO * network.scale)
    worst = int(np.argmax(error))
    if found.converged:
        note = "as those of a sparse factor, to a millionth of an eigenvalue"
    else:
        note = (
            f"mode {FIRST_MODE + worst} has not converged: its residual is {error[worst]:.1%} of its eigenvalue. "
            "A larger network cut-off often helps"
        )
    found_by = f"modes from {blocks.n_blocks} rotation-translation blocks, refined {found.iterations} times"
    return Solution(_orthonormal(columns, network.rigid), (f"{found_by}: {note}",))


#: Name -> how the lowest modes are found. "auto" is one of these.
SOLVERS: dict[str, Callable[[Network, int], Solution]] = {
    "dense": solve_dense,
    "factor": solve_by_factor,
    "blocks": solve_by_blocks,
}


def _orthonormal(columns: Array, rigid: Array) -> Array:
    """Return columns as rows, orthonormal and orthogonal to the rigid motions, each keeping its direction."""
    columns = columns - rigid.T @ (rigid @ columns)
    basis, triangle = np.linalg.qr(columns)
    return np.ascontiguousarray((basis * np.sign(np.diag(triangle))).T)
