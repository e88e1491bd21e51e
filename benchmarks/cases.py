"""What is measured on: models of three sizes, each in a map, with the posterior and the masses of a fit."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesflex import synthetic
from bayesflex.config import FitConfig
from bayesflex.deformation import Deformation
from bayesflex.energy import build_prior
from bayesflex.io.structures import read_structure
from bayesflex.likelihood.marginal import MarginalLikelihood, independent_observations
from bayesflex.map_target import MapTarget
from bayesflex.mcmc.adaptation import largest_eigenvalue
from bayesflex.mcmc.masses import BlockMass
from bayesflex.overlap import Overlap
from bayesflex.overlap.spectrum import Spectrum
from bayesflex.posterior import Posterior
from bayesflex.rendering import render
from bayesflex.sampling.preconditioning import matched_mass
from bayesflex.simd import with_margin
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

    name: str
    n_voxels: int
    voxel: float
    made: Callable[[], Structure]
    file: str | None = None

    def model(self) -> tuple[str, Structure]:
        """Return what to call the model, and its CA trace."""
        folder = os.environ.get("BAYESFLEX_DATA")
        if folder and self.file and (Path(folder) / self.file).is_file():
            structure = read_structure(Path(folder) / self.file)
            return Path(self.file).name.partition(".")[0].upper(), structure.ca_trace()
        return "made by the program", self.made().ca_trace()


AK = Case("AdK", 64, 1.5, lambda: synthetic.two_domain_protein(214), "adk/4ake_A.pdb")
P97 = Case("p97", 128, 2.0, lambda: synthetic.hexamer(728), "p97/5ftm.pdb.gz")
LARGE = Case("assembly", 128, 2.0, lambda: synthetic.assembly(35_000))
CASES = (AK, P97, LARGE)


class Setup:
    """A case made ready: the model, its noisy map, and all that kernels are called with."""

    def __init__(self, case: Case, n_voxels: int | None = None) -> None:
        self.case = case
        self.n_voxels = case.n_voxels if n_voxels is None else n_voxels
        self.model_name, self.ca = case.model()
        rng = np.random.default_rng(1)
        self.start = self.ca.coords - self.ca.coords.mean(axis=0)
        self.n = len(self.start)
        self.coords = self.start + rng.normal(scale=_DISPLACEMENT, size=self.start.shape)
        self.shape = (self.n_voxels,) * 3
        self.voxel = np.full(3, case.voxel)
        self.origin = -0.5 * self.voxel * (self.n_voxels - 1)
        self.weights = np.ones(self.n)
        self.resolution = resolution_of_sigma(SIGMA)
        # Any orthonormal rows cost what normal modes do.
        modes = np.linalg.qr(rng.normal(size=(3 * self.n, N_MODES)))[0].T.reshape(N_MODES, self.n, 3)
        self.deformation = Deformation("combined", self.start, np.ascontiguousarray(modes), rigid=True)
        self.theta = np.zeros(self.deformation.n_dim)
        self.theta[self.deformation.displacements] = (self.coords - self.start).ravel()

    @cached_property
    def rows(self) -> Array:
        """The coordinates with the margin that kernels need."""
        return with_margin(self.coords)

    @cached_property
    def gradient(self) -> Array:
        """A gradient by the coordinates for kernels to add to, with the same margin."""
        return np.zeros_like(self.rows)

    @cached_property
    def coords_and_gradient(self) -> tuple[Array, Array]:
        """What of the two counts: the margins are passed over, or cost nothing."""
        return self.rows[: self.n], self.gradient[: self.n]

    @cached_property
    def density(self) -> Array:
        """The model's density at the start."""
        return render(self.start, self.weights, SIGMA, self.shape, self.voxel, self.origin)

    @cached_property
    def target(self) -> MapTarget:
        """The density with noise; all of its box counts."""
        noise = np.random.default_rng(2).normal(scale=0.1 * float(self.density.std()), size=self.shape)
        return MapTarget(self.density + noise, self.voxel, self.origin, np.ones(self.shape, dtype=bool), SIGMA)

    def likelihood(self, spectrum: Spectrum, evaluation: str = "pairs") -> MarginalLikelihood:
        """Return a likelihood of the kind that fits use unless told otherwise."""
        overlap: Overlap = self.target.overlap(self.weights, spectrum, True, evaluation, self.start)
        return MarginalLikelihood(
            overlap, independent_observations(self.target.region_volume, self.resolution), 0.1, 10.0
        )

    @cached_property
    def low_pass(self) -> MarginalLikelihood:
        """The likelihood of a fit: noise in the band up to the resolution."""
        return self.likelihood(Spectrum(self.resolution))

    @cached_property
    def white(self) -> MarginalLikelihood:
        """The likelihood in which every voxel's noise is its own."""
        return self.likelihood(Spectrum())

    @property
    def overlap(self) -> Any:
        """Fields and pairs of the low-pass likelihood, with lists of neighbours that hold at ``coords``."""
        overlap = self.low_pass.overlap
        if overlap.evaluate(self.coords) is None:
            raise RuntimeError(f"{self.case.name}: the model lies outside its map")
        return overlap

    @cached_property
    def terms(self) -> dict[str, Any]:
        """Energy terms by name, with lists of neighbours that hold at ``coords``."""
        terms = build_prior(self.ca.with_coords(self.start), FitConfig(resolution=self.resolution))
        for term in terms:
            term.add_to(self.coords, np.zeros_like(self.coords))
        return {term.name: term for term in terms}

    @cached_property
    def posterior(self) -> Posterior:
        """The posterior of mode amplitudes, local displacements and a rigid motion."""
        return Posterior(
            self.low_pass,
            tuple(self.terms.values()),
            self.deformation,
            thermal_energy(300.0),
            self.start.mean(axis=0),
            30.0,
        )

    @cached_property
    def mass(self) -> BlockMass:
        """Masses matched to the posterior, as in a fit."""
        return matched_mass(self.posterior, np.zeros_like(self.theta), np.random.default_rng(3))

    @cached_property
    def longest_step(self) -> float:
        """1/√λ: about twice the step that a fit ends with."""
        rng = np.random.default_rng(4)
        return float(largest_eigenvalue(self.posterior, self.theta, self.mass, rng) ** -0.5)
