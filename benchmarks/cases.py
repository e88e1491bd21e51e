"""What is timed: models of three sizes, each with its map, and the functions of the numerical core on them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tests.reference import plain_rendering

from bayesflex import synthetic
from bayesflex.config import FitConfig
from bayesflex.deformation import Deformation
from bayesflex.energy import build_prior
from bayesflex.io.structures import read_structure
from bayesflex.likelihood.marginal import MarginalLikelihood, independent_observations
from bayesflex.map_target import MapTarget
from bayesflex.overlap.spectrum import Spectrum
from bayesflex.posterior import Posterior
from bayesflex.protocols import Likelihood
from bayesflex.rendering import render, render_gradient
from bayesflex.structure import Structure
from bayesflex.units import resolution_of_sigma, thermal_energy

Array = NDArray[np.float64]

SIGMA = 2.0  # Å
N_MODES = 10

#: Displacement of the model from the map's truth, Å: neither at a minimum nor in another list of neighbours.
_DISPLACEMENT = 0.3


@dataclass(frozen=True)
class Case:
    """A model and the box of its map. ``file`` is the real model below BAYESFLEX_DATA, used where it is there."""

    n_points: int
    n_voxels: int
    voxel: float
    made: Callable[[], Structure]
    file: str | None = None

    def model(self) -> tuple[str, Structure]:
        """Return what to call the model, and its CA trace."""
        folder = os.environ.get("BAYESFLEX_DATA")
        if folder and self.file and (Path(folder) / self.file).is_file():
            structure = read_structure(Path(folder) / self.file)
            return structure.name, structure.ca_trace()
        return "synthetic", self.made().ca_trace()


CASES = (
    Case(214, 64, 1.5, lambda: synthetic.two_domain_protein(214), "adk/4ake_A.pdb"),
    Case(4368, 128, 2.0, lambda: synthetic.hexamer(728), "p97/5ftm.pdb.gz"),
    Case(35_000, 200, 2.0, lambda: synthetic.assembly(35_000)),
)

#: Names of what is timed, in the order of the table. The likelihoods are ``marginal``, each with its gradient.
PLAIN = "plain twin: likelihood"
TIMED = (
    "grid: rendering",
    "grid: gradient",
    "grid: likelihood",
    "pairs: likelihood, white",
    "pairs: likelihood, low-pass",
    "prior",
    "posterior gradient",
    PLAIN,
)


def functions_of(case: Case, ca: Structure) -> dict[str, Callable[[], object]]:
    """Return the functions to time, by the names of ``TIMED``."""
    rng = np.random.default_rng(1)
    n = ca.n_atoms
    shape = (case.n_voxels,) * 3
    voxel = np.full(3, case.voxel)
    start = ca.coords - ca.coords.mean(axis=0)
    origin = -0.5 * voxel * (case.n_voxels - 1)
    weights = np.ones(n)
    density = render(start, weights, SIGMA, shape, voxel, origin)
    values = density + rng.normal(scale=0.1 * float(density.std()), size=shape)
    coords = start + rng.normal(scale=_DISPLACEMENT, size=start.shape)

    resolution = resolution_of_sigma(SIGMA)
    target = MapTarget(values, voxel, origin, np.ones(shape, dtype=bool), SIGMA)
    nu = independent_observations(target.region_volume, resolution)

    def marginal(spectrum: Spectrum, evaluation: str) -> Likelihood:
        return MarginalLikelihood(target.overlap(weights, spectrum, True, evaluation, start), nu, 0.1, 10.0)

    grid, white = marginal(Spectrum(), "grid"), marginal(Spectrum(), "pairs")
    low_pass = marginal(Spectrum(resolution), "pairs")
    terms = build_prior(ca.with_coords(start), FitConfig(resolution=resolution))
    # Any orthonormal rows cost what normal modes do.
    modes = np.linalg.qr(rng.normal(size=(3 * n, N_MODES)))[0].T.reshape(N_MODES, n, 3)
    deformation = Deformation("combined", start, np.ascontiguousarray(modes), rigid=True)
    posterior = Posterior(low_pass, terms, deformation, thermal_energy(300.0), start.mean(axis=0), 30.0)
    theta = np.zeros(deformation.n_dim)
    theta[deformation.displacements] = (coords - start).ravel()

    def prior() -> float:
        gradient = np.zeros_like(coords)
        return math.fsum(term.add_to(coords, gradient) for term in terms)

    return {
        "grid: rendering": lambda: render(coords, weights, SIGMA, shape, voxel, origin),
        "grid: gradient": lambda: render_gradient(density, coords, weights, SIGMA, voxel, origin),
        "grid: likelihood": lambda: grid.log_likelihood_and_gradient(coords),
        "pairs: likelihood, white": lambda: white.log_likelihood_and_gradient(coords),
        "pairs: likelihood, low-pass": lambda: low_pass.log_likelihood_and_gradient(coords),
        "prior": prior,
        "posterior gradient": lambda: posterior(theta),
        PLAIN: lambda: plain_rendering.correlation_and_gradient(values, coords, weights, SIGMA, voxel, origin),
    }
