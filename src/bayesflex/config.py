"""FitConfig: every setting of a fit, checked once when made.

Settings come from defaults, a TOML file and command-line flags, in that order.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Mode numbers are counted as the field does: 1-6 move the whole, the first internal one is 7.
FIRST_MODE = 7


@dataclass(frozen=True)
class FitConfig:
    """Settings of one fit. Lengths in Å, energies in kcal/mol, temperature in K."""

    resolution: float
    # What moves
    deformation: str = "combined"  # local, global, combined
    modes: tuple[int, ...] = tuple(range(FIRST_MODE, FIRST_MODE + 10))
    rigid: bool = False
    # How long
    chains: int = 4
    iterations: int = 100  # draws kept per chain, after the warm-up
    seed: int = 1
    threads: int = 0  # 0: all cores
    # Likelihood
    likelihood: str = "marginal"  # marginal, gaussian
    sigma: float | None = None  # width of a bead, Å; None: the resolution's
    bead: str = "ca"  # what a residue scatters, see beads
    noise_sd: float = 0.3  # gaussian: sigma_rho in units of a bead's peak
    floor: float = 0.05  # marginal: model error
    copies: int = 1  # marginal: symmetry-equivalent copies inside the region
    region_margin: float = 10.0  # Å about the start
    contour: float | None = None  # voxels above it belong to the region too
    evaluation: str = "auto"  # auto, grid, pairs
    # Prior
    temperature: float = 300.0
    bond_constant: float = 40.0
    angle_constant: float = 10.0
    dihedral_constant: float = 1.0
    excluded_volume: float = 1.0
    contact_energy: float = 0.3
    contact_cutoff: float = 10.0
    network_cutoff: float = 10.0
    # Sampler
    steps: int = 20  # leapfrog steps per iteration
    target_acceptance: float = 0.8
    # Warm-up
    anneal: bool = True
    stages: tuple[float, ...] = ()  # resolutions of the warm-up, coarse to fine; (): chosen from the model
    stage_iterations: int = 40
    warmup_iterations: int = 60  # the last stage, at the resolution asked for
    recompute_modes: bool = True
    # Map
    voxel: float | None = None  # overrides the header's voxel size
    origin: str | None = None  # None, "nstart", "origin" or "x,y,z"
    crop_margin: float = 20.0
