"""Softening: a structure follows the map as an elastic body, stiff at first and softer step by step.

Between the few modes that turn domains and the displacements of single residues lies all that a model does in between:
subdomains that shift, helices that tilt, sheets that bend. A plain ascent takes residues to the density that is
nearest, and the chain slips along it by one residue. Here each step is that of an elastic network at rest in the
structure reached, pulled by the gradient: neighbours go together, as far as the network is stiff, and what is left to
do when it has softened is local.

Restraints to the distances of the structure reached are the jelly-body restraints of REFMAC5 (Murshudov et al., Acta
Cryst. D67 (2011) 355) and deformable elastic networks without memory (Schröder, Levitt and Brunger, Nature 464 (2010)
1218). As they are at rest wherever the structure is, they change the way and not where it ends: (K H + λ) d = g, with H
the network's Hessian and g the gradient, is a step uphill in a metric of its own.

Nothing here samples anything, and nothing of it remains in the kernel that samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from bayesflex.elastic_response import elastic_response
from bayesflex.errors import InputError
from bayesflex.posterior import Posterior

Array = NDArray[np.float64]

#: Stiffness of a spring at the first and at the last softening, nats/Å²; along the chain they are ten times as stiff.
#: Of 100 or 300 to 1 or 3, 300 to 3 left the highest log densities for ten perturbed mitoribosomal chains.
_STIFFEST, SOFTEST = 300.0, 3.0

#: λ: what holds each site where it is, nats/Å², so that motions without a spring are bounded too.
_HOLD = 1.0

#: Softenings in a stage. Twice and four times as many are no better.
SOFTENINGS = 4

#: Steps at each stiffness, the longest of them (RMSD, Å), and the share of a step below which none is tried.
_STEPS, _LONGEST, _SMALLEST_SHARE = 4, 0.5, 0.02

#: Larger models are left as they are. A softening takes 0.15 s of processor time for p97's 4368 sites, 0.5 s for 8000
#: and 3 s for 20,000 of a compact assembly; what it wins in fits of such has not been measured.
MOST_SITES = 8000


def softened(
    posterior: Posterior,
    coords: Array,
    network_at: Callable[[Array], sparse.bsr_matrix],
    n_softenings: int,
    on_softening: Callable[[], None],
    softest: float = SOFTEST,
) -> Array:
    """Return coordinates moved uphill in a posterior as an elastic body that softens, shape (n, 3), Å.

    Parameters
    ----------
    posterior
        Log density of the coordinates, with its whole prior.
    coords
        Start, shape (n, 3), Å.
    network_at
        Returns the Hessian of the elastic network at rest at a structure, see
        :func:`~bayesflex.elastic_network.network_hessian`.
    n_softenings
        How many times the network is taken anew, softer than before.
    on_softening
        Called before each; what it raises ends all.
    softest
        Stiffness of a spring at the last of them, nats/Å².

    Returns
    -------
    ndarray
        The log density there is not below that of the start. Where the network cannot be made, or no step leads
        uphill, the structure reached so far; models of more than ``MOST_SITES`` sites stay where they are.
    """
    if len(coords) > MOST_SITES:
        return coords
    value, gradient = posterior.of_coordinates(coords)
    for stiffness in np.geomspace(_STIFFEST, softest, n_softenings):
        on_softening()
        try:
            network = network_at(coords)
        except InputError:
            # On its way a structure may hold two sites at one place for a moment.
            return coords
        response = elastic_response(coords, network, stiffness, _HOLD)
        for _ in range(_STEPS):
            step = response(gradient)
            length = math.sqrt(float(np.sum(step**2)) / len(coords))
            share = min(1.0, _LONGEST / max(length, 1e-12))
            least = _SMALLEST_SHARE * share
            moved, ahead = coords, (-math.inf, gradient)
            while share > least and not ahead[0] > value:
                moved = coords + share * step
                ahead = posterior.of_coordinates(moved)
                share *= 0.5
            if not ahead[0] > value:
                break
            coords, (value, gradient) = moved, ahead
    return coords
