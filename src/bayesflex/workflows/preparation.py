"""Preparation of a fit: inputs are checked against each other and made into what the chains share.

Nothing is written here, so that an error of the input leaves no output folder behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesflex.beads import BeadModel
from bayesflex.config import FitConfig
from bayesflex.deformation import APPROACHES
from bayesflex.density_map import SAME_GRID, DensityMap, grid_in_words, require_same_grid
from bayesflex.domains import MOST_RESIDUES, Domains, find_domains
from bayesflex.elastic_network import listing
from bayesflex.energy import build_prior
from bayesflex.errors import ConfigError, InputError
from bayesflex.half_maps import FSC_LIMIT, HalfMapNoise, half_map_noise
from bayesflex.ligand_density import ligands_not_in_map
from bayesflex.likelihood.gaussian import GaussianLikelihood
from bayesflex.likelihood.half_maps import HalfMapLikelihood
from bayesflex.map_target import check_evaluation, make_target
from bayesflex.matching import ResidueMatch, match_residues
from bayesflex.normal_modes import structure_modes
from bayesflex.placement import PlacementReport, check_placement
from bayesflex.residue_beads import make_beads
from bayesflex.residue_runs import in_words
from bayesflex.sampling import Problem, Scatterers, Stage, plan_stages, stage_evaluations, thread_count
from bayesflex.structure import Structure
from bayesflex.units import sigma_of_resolution

Array = NDArray[np.float64]

#: The resolution asked for may be finer than that of the half maps by this factor without a word.
_FINER = 1.1


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a fit is given, in memory.

    Parameters
    ----------
    structure, density
        The model and the map.
    reference
        A known answer, of which RMSDs are reported.
    mask
        On the map's grid; voxels above zero are scored.
    fixed
        Another model, rendered and not moved.
    half_maps
        The two half maps of the map, on its grid: they tell its noise.
    """

    structure: Structure
    density: DensityMap
    reference: Structure | None = None
    mask: DensityMap | None = None
    fixed: Structure | None = None
    half_maps: tuple[DensityMap, DensityMap] | None = None


@dataclass(frozen=True, eq=False)
class PreparedFit:
    """A fit that can begin.

    Parameters
    ----------
    inputs
        What was given.
    ca
        Trace of the model, CA and C4'.
    config
        Settings with nothing left to be chosen: sigma, stages, evaluation and threads are filled in.
    problem, stages
        What the chains share, and the stages they pass through.
    fixed_beads
        Positions (n, 3) and weights (n,) of the beads that stand still, or None.
    match
        Residues of the reference, where there is one.
    warnings
        Sentences for the user.
    seconds_modes
        Time that the normal modes took.
    start_beads
        What the residues of the start scatter; those of the problem may have settled since.
    scatterers
        What a pilot settled, or None.
    docking_poses
        Content of ``poses.csv``, empty where the model was not docked.
    """

    inputs: Inputs
    ca: Structure
    config: FitConfig
    problem: Problem
    stages: tuple[Stage, ...]
    fixed_beads: tuple[Array, Array] | None
    match: ResidueMatch | None
    warnings: tuple[str, ...]
    seconds_modes: float
    start_beads: BeadModel
    docking_poses: str = ""
    scatterers: Scatterers | None = None

    def with_scatterers(self, found: Scatterers) -> PreparedFit:
        """Return this fit with what a pilot settled, and the warnings on that."""
        warnings = (*self.warnings, *found.warnings)
        return replace(self, problem=found.applied_to(self.problem), scatterers=found, warnings=warnings)


def prepare(inputs: Inputs, config: FitConfig, say: Callable[[str], None]) -> PreparedFit:
    """Check the inputs and make them into a fit that can begin.

    Parameters
    ----------
    inputs
        Model, map and what goes with them.
    config
        Settings.
    say
        Told first what was read, as a table, then each warning.

    Raises
    ------
    InputError
        If the model has neither CA nor C4', lies outside the map or does not fit its voxel size, the resolution is
        finer than a voxel, the reference is another molecule, the mask or a half map is on another grid, the half maps
        are not those of the map, or no voxel counts.
    ConfigError
        If there are fewer modes than asked for, or the likelihood and the half maps do not go together.
    """
    density, ca = inputs.density, inputs.structure.trace()
    placement = check_placement(density, ca.coords)
    config, warnings = with_usable_resolution(config, density)
    config, noise, noise_warnings = _noise(inputs, config, ca)
    warnings = (*placement.warnings, *warnings, *noise_warnings)
    match = None if inputs.reference is None else match_residues(ca, inputs.reference.trace())
    say(as_table(_described(inputs, ca, placement, match, noise)))
    for warning in warnings:
        say(f"Warning: {warning}")

    if config.bead == "auto":
        # A width of their own is what the paper's beads on CA have; the others have theirs from the model.
        config = replace(config, bead="parts" if config.sigma is None else "ca")
    not_shown, names = ligands_not_in_map(inputs.structure, density, config.resolution)
    if config.bead != "ca" and names:
        say(f"ligands: {listing(np.array(names), np.arange(len(names)))} do not scatter: the map shows nothing there")
    beads = make_beads(config.bead, inputs.structure.select(~not_shown), ca, config.b_factors)
    sigma = config.sigma
    if sigma is None:
        sigma = float(np.hypot(sigma_of_resolution(config.resolution), beads.spread))
    fixed_beads = _fixed_beads(inputs, config)
    target = make_target(density, ca.coords, config, sigma, _mask_values(inputs), fixed_beads)
    if noise is not None:
        target = target.with_half_maps(noise, density, config, inputs.mask is not None)
    stages = plan_stages(config, ca.coords)
    config = replace(
        config,
        sigma=sigma,
        stages=tuple(stage.resolution for stage in stages[:-1]),
        threads=thread_count(config),
    )
    began = time.perf_counter()
    modes = None
    if config.deformation != "local" and not config.modes:
        raise ConfigError("modes: auto is chosen by `bayesflex fit`; give how many here, such as --modes 10.")
    if config.deformation != "local":
        modes = structure_modes(ca, max(config.modes) - 6, config.network_cutoff)
        for note in modes.notes:
            say(f"modes: {note}")
    seconds_modes = time.perf_counter() - began
    reference = None
    if match is not None and inputs.reference is not None:
        reference = (inputs.reference.trace().coords[match.reference_index], match.model_index)
    config, domains = _domain_motions(ca, config, say)
    problem = Problem(ca, config, target, beads, build_prior(ca, config), modes, reference, domains)
    evaluations = stage_evaluations(problem, stages)
    config = replace(config, evaluation=evaluations[0] if len(set(evaluations)) == 1 else ",".join(evaluations))
    problem = replace(problem, config=config)
    return PreparedFit(inputs, ca, config, problem, stages, fixed_beads, match, warnings, seconds_modes, beads)


def _domain_motions(ca: Structure, config: FitConfig, say: Callable[[str], None]) -> tuple[FitConfig, Domains | None]:
    """Return settings in which it is decided whether domains move as rigid bodies, and the domains that do."""
    wanted = config.domain_motions
    if wanted == "off" or (wanted == "auto" and all(APPROACHES[config.deformation])):
        return replace(config, domain_motions="off"), None
    if wanted == "auto" and ca.n_atoms > MOST_RESIDUES:
        say(f"domain motions: not looked for in models of more than {MOST_RESIDUES} residues; --domain-motions on does")
        return replace(config, domain_motions="off"), None
    try:
        domains = find_domains(ca, config.network_cutoff)
    except InputError as error:
        if wanted == "on":
            raise
        say(f"domain motions: none, since the network has no domains to tell of ({error})")
        return replace(config, domain_motions="off"), None
    if domains.n_domains < 2:
        say("domain motions: the network has one domain alone, and none moves by itself")
        return replace(config, domain_motions="off"), None
    labels = ca.residue_labels
    each = "; ".join(in_words(domains.residues((k,)), labels) for k in range(domains.n_domains))
    say(f"domain motions: {domains.n_domains} domains, each a rigid body: {each}")
    return replace(config, domain_motions="on"), domains


def as_table(rows: list[tuple[str, str]]) -> str:
    """Return labels and values in two columns."""
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:<{width}}  {value}" for label, value in rows)


def with_usable_resolution(config: FitConfig, density: DensityMap) -> tuple[FitConfig, tuple[str, ...]]:
    """Return settings with a resolution that the voxels can hold, and a warning where it had to be changed."""
    voxel = float(density.voxel_size.max())
    if config.resolution < voxel:
        raise InputError(
            f"{density.name}: resolution {config.resolution:g} Å is finer than one voxel ({voxel:g} Å); expected at "
            f"least two voxels. Give --resolution {2.0 * voxel:g} or coarser, or the true voxel size with --voxel."
        )
    if config.resolution >= 2.0 * voxel * (1.0 - SAME_GRID):
        return config, ()
    warning = (
        f"{density.name}: resolution {config.resolution:g} Å is finer than two voxels, the finest that a grid of "
        f"{voxel:g} Å can hold; {2.0 * voxel:g} Å is used"
    )
    return replace(config, resolution=2.0 * voxel), (warning,)


def _mask_values(inputs: Inputs) -> NDArray[np.bool_] | None:
    """Return the voxels that the mask lets count, shape (nz, ny, nx)."""
    mask, density = inputs.mask, inputs.density
    if mask is None:
        return None
    require_same_grid(mask, density, "mask")
    return np.asarray(mask.values > 0.0)


def _noise(inputs: Inputs, config: FitConfig, ca: Structure) -> tuple[FitConfig, HalfMapNoise | None, tuple[str, ...]]:
    """Return settings with the likelihood that the inputs ask for, the noise that the half maps tell, and warnings."""
    if inputs.half_maps is None:
        if config.likelihood == HalfMapLikelihood.name:
            raise ConfigError(
                "likelihood: half-maps needs the two half maps of the map, and got none. Give them with --half1 and "
                "--half2, or take --likelihood marginal."
            )
        return config, None, ()
    if config.likelihood == GaussianLikelihood.name:
        raise ConfigError(
            "likelihood: gaussian takes the noise from --noise-sd, and half maps tell it otherwise. "
            "Leave out --likelihood gaussian, or --half1 and --half2."
        )
    if config.observations != "resolution":
        raise ConfigError(
            f"observations: {config.observations} has no meaning with half maps, which tell the noise itself. "
            "Leave out --observations, or --half1 and --half2."
        )
    config = replace(config, likelihood=HalfMapLikelihood.name)
    check_evaluation(config)
    for half in inputs.half_maps:
        require_same_grid(half, inputs.density, "half map")
    noise = half_map_noise(inputs.density, *inputs.half_maps, ca.coords, config.resolution)
    warnings = []
    if noise.resolution > config.resolution * _FINER:
        warnings.append(
            f"{inputs.density.name}: its half maps correlate by {FSC_LIMIT:g} up to {noise.resolution:.1f} Å, and "
            f"--resolution {config.resolution:g} is finer: what lies between is mostly noise"
        )
    quiet = noise.quiet_beyond(config.resolution)
    if quiet is not None:
        warnings.append(
            f"{inputs.density.name}: its half maps hold next to no noise finer than {quiet:.1f} Å, as if filtered, and "
            f"--resolution {config.resolution:g} is finer; give the resolution that they were filtered to"
        )
    return config, noise, tuple(warnings)


def _fixed_beads(inputs: Inputs, config: FitConfig) -> tuple[Array, Array] | None:
    """Return positions (n, 3) and weights (n,) of the beads that stand still, on the scale of those that move."""
    if inputs.fixed is None:
        return None
    ca = inputs.fixed.trace()
    beads = make_beads(config.bead, inputs.fixed, ca)
    return beads.place(ca.coords), beads.weights


def _sites_in_words(trace: Structure) -> str:
    """Return how many residues are fitted, by kind."""
    n_nucleotides = int(np.count_nonzero(trace.is_nucleotide_site))
    kinds = [(trace.n_atoms - n_nucleotides, "with CA"), (n_nucleotides, "with C4'")]
    return ", ".join(f"{count} {kind}" for count, kind in kinds if count)


def _site_name(trace: Structure) -> str:
    """Return what the sites of a trace are called."""
    if not trace.is_nucleotide_site.any():
        return "CA"
    return "C4'" if trace.is_nucleotide_site.all() else "CA or C4'"


def _described(
    inputs: Inputs,
    ca: Structure,
    placement: PlacementReport,
    match: ResidueMatch | None,
    noise: HalfMapNoise | None,
) -> list[tuple[str, str]]:
    """Return what was read, as rows of label and value."""
    structure, density = inputs.structure, inputs.density
    rows = [
        ("model", structure.name),
        (
            "  holds",
            f"atoms: {structure.n_atoms}, residues: {structure.n_residues} ({_sites_in_words(ca)}), "
            f"chains: {len(np.unique(structure.chain))}",
        ),
        ("map", density.name),
        ("  grid", grid_in_words(density)),
        (
            "  model inside",
            f"{placement.n_inside} of {placement.n_ca} {_site_name(ca)}; mean map value there "
            f"{placement.mean_sd:.1f} SD above the map's mean",
        ),
    ]
    if inputs.fixed is not None:
        rows.append(("fixed", f"{inputs.fixed.name}, rendered: {_sites_in_words(inputs.fixed.trace())}"))
    if inputs.mask is not None:
        share = float(np.mean(inputs.mask.values > 0.0))
        rows.append(("mask", f"{inputs.mask.name}, {share:.1%} of the voxels"))
    if inputs.half_maps is not None and noise is not None:
        rows.append(("half maps", " and ".join(half.name for half in inputs.half_maps)))
        rows.append(("  tell", f"a resolution of {noise.resolution:.1f} Å (FSC {FSC_LIMIT:g}), and the noise"))
    if match is not None:
        rows.append(("reference", match.message))
    return rows + [("note", note) for note in (*structure.notes, *density.notes)]
