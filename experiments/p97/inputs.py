"""What the two tests are given: start, map and known answer, made from 5FTM and 5FTN.

Nothing is downloaded: entries come as files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from bayesflex.carrying import carry
from bayesflex.config import FitConfig
from bayesflex.deformation import Deformation
from bayesflex.density_map import DensityMap
from bayesflex.energy import build_prior
from bayesflex.energy.contacts import NativeContacts
from bayesflex.geometry import rmsd
from bayesflex.map_preparation import low_pass, resample_to_box
from bayesflex.mcmc import DiagonalMass, warm_up
from bayesflex.normal_modes import NormalModes, overlap, structure_modes
from bayesflex.posterior import Posterior
from bayesflex.protocols import EnergyTerm, KernelState
from bayesflex.structure import Structure
from bayesflex.units import thermal_energy
from bayesflex.workflows.comparison_results import Domain
from bayesflex.workflows.conclusion import relax
from bayesflex.workflows.simulate import simulate

Array = NDArray[np.float64]

#: Domains by residue number, from the deposited models' paper (Banerjee et al. 2016, Science 351, 871).
DOMAINS = (Domain("N", 1, 189), Domain("D1", 190, 459), Domain("D2", 460, 806))

#: The paper fits with the first four internal modes.
PAPER_MODES = (7, 8, 9, 10)

#: Modes among which the lifting one is looked for, and the cut-off of the network, Å.
_SEARCHED_MODES, _CUTOFF = 20, 10.0

#: The paper's displacement, -1500 along a mode of unit norm over about 34,200 atoms, as a root mean square, Å.
PAPER_RMS = 1500.0 / 34_200**0.5

#: Box of both target maps, voxels along each edge.
BOX = 128

#: Test 1: voxel (Å), so that the displaced hexamer fits into the box with room, and resolution (Å).
TEST1_VOXEL, TEST1_RESOLUTION = 1.6, 6.0

#: Test 2: resolution of EMD-3299 (Å), the filter that reduces its noise (Å), and the width of a bead (Å): that of a
#: residue and no atom's.
MAP_RESOLUTION, FILTERED_TO, TEST2_SIGMA = 3.3, 5.0, 1.8

#: The stand-in of EMD-3299: voxel before reduction (Å), noise over the clean map's standard deviation, seed.
_STAND_IN_VOXEL, STAND_IN_NOISE, _STAND_IN_SEED = 0.8, 1.0, 1

#: Short dynamics of the CA model after the displacement, trajectories and leapfrog steps in each.
_DYNAMICS, _DYNAMICS_STEPS = 50, 20


@dataclass(frozen=True, eq=False)
class Lifting:
    """The mode that lifts the N domains.

    Parameters
    ----------
    number
        Its number, counted from 7.
    vector
        Unit norm over the CA, signed so that a positive amplitude lifts, shape (n_ca, 3).
    overlap
        |cosine| with all N domains moving up in phase.
    """

    number: int
    vector: Array
    overlap: float

    @property
    def fitted_modes(self) -> tuple[int, ...]:
        """The paper's modes, the last one replaced by this one where it is not among them."""
        return PAPER_MODES if self.number in PAPER_MODES else (*PAPER_MODES[:-1], self.number)

    @property
    def message(self) -> str:
        """One sentence on what was found."""
        text = f"Mode {self.number} lifts the N domains (overlap {self.overlap:.2f} with all moving up in phase)"
        if self.number in PAPER_MODES:
            return f"{text}; it is among modes 7-10, which are fitted."
        return f"{text}; it lies outside 7-10 and replaces mode 10."


def lifting_mode(ca: Structure) -> Lifting:
    """Return the mode with the largest overlap with the in-phase motion of all N domains along the ring's axis.

    Numbers depend on the network; what a mode does, does not. Up is from D2 to D1, the side of the N domains.
    """
    found = structure_modes(ca, _SEARCHED_MODES, _CUTOFF)
    nterm, d1, d2 = (domain.of(ca) for domain in DOMAINS)
    axis = _ring_axis(ca, d1, d2)
    lift = np.where(nterm[:, None], axis, 0.0)
    overlaps = _overlaps(found, lift - lift.mean(axis=0))
    best = int(np.argmax(overlaps))
    vector = found.vectors[best]
    sign = 1.0 if float(np.sum(vector[nterm] @ axis)) > 0.0 else -1.0
    return Lifting(int(found.numbers[best]), sign * vector, float(overlaps[best]))


def _overlaps(modes: NormalModes, motion: Array) -> Array:
    return np.array([overlap(vector, motion) for vector in modes.vectors])


def _ring_axis(ca: Structure, d1: NDArray[np.bool_], d2: NDArray[np.bool_]) -> Array:
    """Return the unit vector normal to the plane of the chains' D1 domains, pointing from D2 to D1."""
    centres = np.array([ca.coords[d1 & (ca.chain == chain)].mean(axis=0) for chain in np.unique(ca.chain)])
    axis = np.linalg.svd(centres - centres.mean(axis=0))[2][2]
    upwards = ca.coords[d1].mean(axis=0) - ca.coords[d2].mean(axis=0)
    return np.asarray(axis * np.sign(axis @ upwards))


def rms_of_amplitude(amplitude: float, n_atoms: int) -> float:
    """Return the root mean square displacement (Å) of an amplitude (Å) along a mode of unit norm over n atoms.

    A mode of unit norm spreads its length over all atoms that it has: |q| / √n. A mode over all atoms and one over the
    CA alone therefore need amplitudes that differ by √(n_atoms / n_ca) for one motion; the RMS is the same.

    >>> round(rms_of_amplitude(-1500.0, 34_200), 2)
    8.11
    """
    return abs(amplitude) / n_atoms**0.5


@dataclass(frozen=True, eq=False)
class Displaced:
    """The known answer of test 1: all atoms, and how far each step of making it moved the CA, Å."""

    structure: Structure
    rms_along_mode: float
    rms_of_settling: float

    @property
    def message(self) -> str:
        """One sentence on the displacements."""
        return (
            f"Displaced by {self.rms_along_mode:.2f} Å RMS along the mode; minimisation and dynamics of the CA model "
            f"moved it by another {self.rms_of_settling:.2f} Å."
        )


def displace(start: Structure, lifting: Lifting, rms: float, rng: Generator) -> Displaced:
    """Return a model displaced along the lifting mode, minimised, moved by short dynamics and minimised again.

    The prior of the start would pull the N domains back, so that contacts are those of the displaced trace: bonds,
    angles and dihedrals relax, and the collective motion stays. All atoms follow by local rigid motions.

    Parameters
    ----------
    start
        The model.
    lifting
        Its lifting mode.
    rms
        Displacement along it, root mean square over the CA, Å; positive lifts.
    rng
        For the dynamics.
    """
    ca = start.ca_trace()
    moved = ca.coords + rms * ca.n_atoms**0.5 * lifting.vector
    settings = FitConfig(resolution=TEST1_RESOLUTION)
    terms = (
        *build_prior(ca, replace(settings, contact_energy=0.0)),
        NativeContacts(ca.with_coords(moved), settings.contact_energy, settings.contact_cutoff),
    )
    settled = _settled(moved, terms, settings, rng)
    return Displaced(start.with_coords(carry(start, settled)), rmsd(moved, ca.coords), rmsd(settled, moved))


def _settled(coords: Array, terms: Sequence[EnergyTerm], settings: FitConfig, rng: Generator) -> Array:
    def free(at: Array) -> Posterior:
        deformation = Deformation("local", at, np.zeros((0, *at.shape)))
        temperature = thermal_energy(settings.temperature)
        return Posterior(None, terms, deformation, temperature, at.mean(axis=0), settings.centre_sd)

    minimum = relax(free(coords), coords)
    posterior, rest = free(minimum), np.zeros(minimum.size)
    state, _ = warm_up(
        rng,
        posterior,
        KernelState(rest, posterior(rest)),
        DiagonalMass.uniform(minimum.size),
        _DYNAMICS,
        _DYNAMICS_STEPS,
    )
    return relax(posterior, state.evaluation.details.coords)


def synthetic_map(answer: Structure) -> DensityMap:
    """Return the target of test 1: scattering factors of all atoms on 128³ voxels."""
    return simulate(answer, resolution=TEST1_RESOLUTION, voxel=TEST1_VOXEL, box=BOX)


def stand_in_map(answer: Structure) -> DensityMap:
    """Return the map that stands in for EMD-3299: that of 5FTN from scattering factors at 3.3 Å, with noise."""
    return simulate(
        answer,
        resolution=MAP_RESOLUTION,
        voxel=_STAND_IN_VOXEL,
        box=2 * BOX,
        noise=STAND_IN_NOISE,
        noise_spectrum="band",
        seed=_STAND_IN_SEED,
    )


def reduced_map(density: DensityMap) -> DensityMap:
    """Return a map slightly low-pass filtered and reduced to 128³ voxels, as the paper reduces EMD-3299."""
    return resample_to_box(low_pass(density, FILTERED_TO), BOX)
