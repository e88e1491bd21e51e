"""Where an elastic network at rest goes when it is pulled: (K H + λ) d = g, with H its Hessian.

The network of a small model has a thin factor. That of a large one has not, and is solved by conjugate gradients with
the preconditioner that the modes of large networks are found with (``block_preconditioner``): for p97's 4368 CA in a
third of the time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, cg

from bayesflex.block_preconditioner import BlockPreconditioner, reordered
from bayesflex.elastic_network import shifted_factor
from bayesflex.rotation_translation_blocks import make_blocks

Array = NDArray[np.float64]

#: From this many entries of the Hessian (of 3 × 3 numbers) on there is no factor: that of 60,000 takes 0.2 s.
_LARGE = 60_000

#: Beads per block, the number of blocks beyond which blocks grow instead, and the longest distance within one, Å.
_BLOCK_SIZE, _MOST_BLOCKS, _REACH = 12, 2500, 15.0

#: A solution is taken where what is left of the pull is below this share: it is then off by one in a hundred at most,
#: of a step that is tried before it is taken. Iterations are a few.
_TOLERANCE, _MOST_ITERATIONS = 1e-3, 100


def elastic_response(
    coords: Array, network: sparse.bsr_matrix, stiffness: float, hold: float
) -> Callable[[Array], Array]:
    """Return what takes a pull g, shape (n, 3), to the displacements d, (n, 3).

    Parameters
    ----------
    coords
        Positions at which the network is at rest, shape (n, 3), Å.
    network
        H, shape (3 n, 3 n), see :func:`bayesflex.elastic_network.network_hessian`.
    stiffness
        K, positive.
    hold
        λ, positive: what holds each site where it is.
    """
    if len(network.indices) < _LARGE:
        factor = shifted_factor(stiffness * network.tocsc(), hold)
        return lambda pull: np.asarray(factor.solve(pull.ravel())).reshape(-1, 3)
    n = len(coords)
    blocks = make_blocks(coords, max(_BLOCK_SIZE, -(-n // _MOST_BLOCKS)), _REACH)
    matrix = reordered(network, blocks.order)
    held = sparse.bsr_matrix((stiffness * matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape)
    row = np.repeat(np.arange(n), np.diff(held.indptr))
    held.data[row == held.indices] += hold * np.eye(3)
    preconditioner = BlockPreconditioner(held, coords[blocks.order], blocks, 0.0)

    def operator(columns: Callable[[Array], Array]) -> LinearOperator:
        return LinearOperator(held.shape, matvec=lambda vector: columns(vector.reshape(-1, 1)).ravel(), dtype=float)

    product, inverse = operator(preconditioner.multiply), operator(preconditioner)

    def respond(pull: Array) -> Array:
        solution, _ = cg(product, pull[blocks.order].ravel(), rtol=_TOLERANCE, maxiter=_MOST_ITERATIONS, M=inverse)
        moved = np.empty_like(pull)
        moved[blocks.order] = solution.reshape(-1, 3)
        return moved

    return respond
