"""The case that calibration repeats: a small protein, the priors of its structure and map, and maps drawn from them.

Everything here is the model that fits suppose; ``calibration_replicate`` draws from it and fits. The prior of a
structure is that of a fit, exp(-U / k_B T) times a Gaussian of the centroid: every orientation is as likely, and the
fit begins, as fits do, with a reference model that was docked.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from bayesflex.config import FitConfig
from bayesflex.deformation import Deformation
from bayesflex.density_map import DensityMap
from bayesflex.geometry import nearest_rotation, rotation_of_vector, superimpose
from bayesflex.likelihood.gaussian import GaussianLikelihood
from bayesflex.map_target import make_target
from bayesflex.mcmc import HMC, warm_up
from bayesflex.noise import add_noise, frequencies
from bayesflex.overlap.spectrum import Spectrum
from bayesflex.posterior import Posterior
from bayesflex.protocols import KernelState, Likelihood
from bayesflex.rendering import render
from bayesflex.residue_beads import make_beads
from bayesflex.sampling import Problem, plan_stages, stage_likelihoods
from bayesflex.sampling.preconditioning import matched_mass
from bayesflex.structure import Structure
from bayesflex.synthetic import two_domain_layout, two_domain_protein
from bayesflex.units import sigma_of_resolution, thermal_energy
from bayesflex.workflows.preparation import Inputs, prepare

Array = NDArray[np.float64]

#: The first domain of a two-domain protein of this length is a hairpin of two helices, 24 residues.
_N_RESIDUES = 56

#: The default constants let so small a fold melt: dihedrals flip in two of three structures, and chains that cross such
#: barriers rarely would be judged for that. With these (kcal/mol) it stays folded, and its posterior has one mode.
DIHEDRAL_CONSTANT, CONTACT_ENERGY = 3.0, 1.0

#: Standard deviation of the centroid about the reference's, Å: ``centre_sd`` of the fits.
CENTRE_SD = 1.0

#: Standard deviation, in each direction, of the rotation by which docking is wrong, degrees.
DOCKING_SD = 5.0

#: Level of the noise in the map's band, in units of the reference map's standard deviation over its box: median, and
#: standard deviation of the logarithm.
NOISE_MEDIAN, NOISE_SPREAD = 1.0, 0.5

#: Standard deviations of the logarithm of the map's scale, and of its offset in units of the scaled map's own.
SCALE_SPREAD, OFFSET_SD = 1.0, 1.0

#: Room around the reference in the box, Å: what is scored, and as much again between it and its periodic image.
_MARGIN = 20.0

#: Trajectories are longer than by default, since every draw that is ranked must be independent of the others.
_STEPS, _WARM_UP, _ITERATIONS = 60, 100, 240

#: Iterations of a chain of the prior after its warm-up; its last structure is taken.
_PRIOR_ITERATIONS = 400


class Nuisance(NamedTuple):
    """What a map does not say of itself.

    Parameters
    ----------
    noise
        Standard deviation of the noise in the band, in the model's units over ``scale`` 1.
    scale, offset
        The map is scale (rho_sim + noise) + offset.
    """

    noise: float
    scale: float
    offset: float


class Case:
    """The protein, its priors, and the settings of its fits.

    Parameters
    ----------
    likelihood, observations
        As of :class:`FitConfig`. With "gaussian" the noise is independent from voxel to voxel, its level and the map's
        scale are known to the fit, and the offset is zero.
    resolution
        Of the simulated maps, Å.

    Raises
    ------
    ConfigError
        If a setting is none of a fit's.
    """

    def __init__(self, likelihood: str, observations: str, resolution: float) -> None:
        self.structure = reference_structure()
        self.ca = self.structure.trace()
        self.start: Array = self.ca.coords
        self._centre: Array = self.start.mean(axis=0)
        self._beads = make_beads("parts", self.structure, self.ca)
        self._sigma = float(np.hypot(sigma_of_resolution(resolution), self._beads.spread))
        self.config = FitConfig(
            resolution=resolution,
            likelihood=likelihood,
            observations=observations,
            bead="parts",
            sigma=self._sigma,
            centre_sd=CENTRE_SD,
            dihedral_constant=DIHEDRAL_CONSTANT,
            helix_stiffness=1.0,  # what keeps this small fold whole is the constant for all of it
            contact_energy=CONTACT_ENERGY,
            chains=1,
            threads=1,
            steps=_STEPS,
            warmup_iterations=_WARM_UP,
            iterations=_ITERATIONS,
        )

    @cached_property
    def reference_map(self) -> DensityMap:
        """Map of the reference, without noise and in the model's units."""
        voxel = self.config.resolution / 3.0
        # Room for every orientation.
        reach = float(np.linalg.norm(self.start - self._centre, axis=1).max()) + _MARGIN
        size = 2 * math.ceil(reach / voxel)
        origin = self._centre - 0.5 * voxel * (size - 1)
        grid = DensityMap(np.zeros((size, size, size)), np.full(3, voxel), origin, name="simulated map")
        return self._map_of(self.start, grid)

    @cached_property
    def problem(self) -> Problem:
        """The fit of the reference's own map, what all replicates have in common."""
        prepared = prepare(Inputs(self.structure, self.reference_map), self.config, lambda text: None)
        return replace(prepared.problem, config=prepared.config)

    @cached_property
    def _voxel_noise(self) -> float:
        """Standard deviation at a voxel of white noise whose part in the map's band has the standard deviation 1."""
        density = self.reference_map
        nz, ny, nx = density.values.shape
        return float(np.mean(frequencies((nz, ny, nx), density.voxel_size) <= 1.0 / self.config.resolution)) ** -0.5

    def draw_structure(self, rng: Generator) -> tuple[Array, Array]:
        """Return a structure drawn from the prior, shape (n_ca, 3), and the chain whose last shape it has.

        The chain begins at the reference and passes through a warm-up of its own, so that structures of different
        calls are independent. What the energy says nothing of, orientation and centroid, is drawn exactly.
        """
        problem = self.problem
        deformation = Deformation.tethered("combined", self.start, problem.mode_vectors, False)
        temperature = thermal_energy(self.config.temperature)
        posterior = Posterior(None, problem.terms, deformation, temperature, self._centre, CENTRE_SD)
        theta = np.zeros(deformation.n_dim)
        mass = matched_mass(posterior, theta, rng)
        state, step_size = warm_up(rng, posterior, KernelState(theta, posterior(theta)), mass, _WARM_UP, _STEPS)
        kernel = HMC(posterior, mass, step_size, _STEPS)
        chain = np.empty((_PRIOR_ITERATIONS, *self.start.shape))
        for coords in chain:
            state = state._replace(position=deformation.reset_gauge(state.position))
            state, _ = kernel.step(rng, state)
            coords[:] = state.evaluation.details.coords
        # The rotation nearest to a matrix of independent normals has the Haar measure.
        turned = (chain[-1] - chain[-1].mean(axis=0)) @ nearest_rotation(rng.standard_normal((3, 3))).T
        return turned + self._centre + CENTRE_SD * rng.standard_normal(3), chain

    def draw_nuisance(self, rng: Generator) -> Nuisance:
        """Return scale, offset and noise of a map, drawn from their priors."""
        unit = float(np.std(self.reference_map.values))
        noise = unit * NOISE_MEDIAN * math.exp(NOISE_SPREAD * rng.standard_normal())
        scale = math.exp(SCALE_SPREAD * rng.standard_normal())
        offset = OFFSET_SD * unit * scale * rng.standard_normal()
        return Nuisance(noise, scale, 0.0 if self.config.likelihood == "gaussian" else offset)

    def draw_map(self, rng: Generator, coords: Array, nuisance: Nuisance) -> DensityMap:
        """Return the map of a structure with noise: flat up to 1 / resolution, or white for the gaussian likelihood."""
        clean = self._map_of(coords, self.reference_map)
        if self.config.likelihood == "gaussian":
            noise = nuisance.noise * self._voxel_noise * rng.standard_normal(clean.values.shape)
        else:
            # The level must not depend on the structure: it would tell of it.
            level = nuisance.noise / float(np.std(self.reference_map.values))
            noisy = add_noise(rng, self.reference_map, level, resolution=self.config.resolution)
            noise = noisy.values - self.reference_map.values
        return clean.with_values(nuisance.scale * (clean.values + noise) + nuisance.offset)

    def dock(self, rng: Generator, coords: Array) -> Array:
        """Return the rotation by which the reference is docked, (3, 3): onto a structure, but for an error.

        The reference stays at its own centroid, which is that of the prior.
        """
        error = rotation_of_vector(math.radians(DOCKING_SD) * rng.standard_normal(3))
        return np.asarray(error @ superimpose(self.start, coords).rotation)

    def fit(
        self, density: DensityMap, nuisance: Nuisance, rotation: Array, seed: int
    ) -> tuple[Problem, tuple[Likelihood, ...]]:
        """Return the fit of a map as ``bayesflex fit`` sets it up, from a turned reference.

        Returns
        -------
        problem
            What the chain needs.
        likelihoods
            Of each stage; the last one's is sampled.
        """
        base = self.problem
        config = replace(base.config, seed=seed)
        start = (self.start - self._centre) @ rotation.T + self._centre
        assert base.modes is not None
        problem = replace(
            base,
            config=config,
            ca=self.ca.with_coords(start),
            modes=replace(base.modes, vectors=base.modes.vectors @ rotation.T),
            target=make_target(density, start, config, self._sigma),
        )
        likelihoods = stage_likelihoods(problem, plan_stages(config, start))
        if config.likelihood == "gaussian":
            # A fit takes the scale from where it starts and the level from the user; here both are known.
            overlap = problem.target.overlap(self._beads.weights, Spectrum(), False, config.evaluation)
            noise_sd = nuisance.noise * self._voxel_noise
            likelihoods[-1] = self._beads.attach(GaussianLikelihood(overlap, nuisance.scale, noise_sd))
        return problem, tuple(likelihoods)

    def _map_of(self, coords: Array, grid: DensityMap) -> DensityMap:
        """Return the density of a structure on the grid of a map, cut so far out that nothing is lost."""
        nz, ny, nx = grid.values.shape
        shape, beads = (nz, ny, nx), self._beads
        place = (grid.voxel_size, grid.origin)
        return grid.with_values(render(beads.place(coords), beads.weights, self._sigma, shape, *place, window=6.0))


def reference_structure() -> Structure:
    """Return the protein of the case: two helices and a loop, 24 residues with their N, CA, C, O and CB."""
    protein = two_domain_protein(_N_RESIDUES)
    domain = two_domain_layout(_N_RESIDUES).first_domain
    return replace(protein.select(protein.residue_index < domain.stop), name="hairpin of 24 residues")
