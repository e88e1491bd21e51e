"""Conclusion of a fit: from the draws of all chains to one answer, its all-atom model, its map and its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bayesflex import __version__
from bayesflex.beads import BeadModel
from bayesflex.carrying import make_carrier
from bayesflex.clusters import describe_clusters, find_clusters
from bayesflex.convergence import convergence
from bayesflex.deformation import APPROACHES, Deformation
from bayesflex.density_map import DensityMap
from bayesflex.diagnostics import cc_centred, cc_mask
from bayesflex.domain_motions import DomainMotion, measured_motions
from bayesflex.domains import MOST_RESIDUES, find_domains
from bayesflex.errors import BayesflexError, InputError
from bayesflex.geometry import rmsd
from bayesflex.map_preparation import mask_around
from bayesflex.metrics import AMPLITUDE_PREFIX
from bayesflex.posterior import Posterior
from bayesflex.protocols import Likelihood
from bayesflex.rendering import render
from bayesflex.sampling import Chain, Starts, correlations, thread_count
from bayesflex.sampling.parallel import Beside
from bayesflex.steering import relax, restored
from bayesflex.structure import Structure
from bayesflex.trace import Trace
from bayesflex.uncertainty import spread
from bayesflex.units import b_factor_of_variance
from bayesflex.validation import Validation, validate
from bayesflex.workflows.assessment import assess
from bayesflex.workflows.domain_poses import summary_of_starts, warnings_of_starts
from bayesflex.workflows.preparation import PreparedFit
from bayesflex.workflows.results import FitResult, cluster_file
from bayesflex.workflows.summary import (
    summary_of_assessment,
    summary_of_chains,
    summary_of_exchanges,
    warnings_of_exchanges,
)

Array = NDArray[np.float64]

#: Chains whose means are closer than this share of the resolution (and than the Å below) hold the same answer.
_SAME_ANSWER_RESOLUTION, _SAME_ANSWER_LEAST = 0.2, 1.0

#: Conformations that are written as models.
_MOST_MODELS = 10

#: cc_mask counts voxels within the resolution of a CA, and at least within this distance, Å: a side chain's reach.
_LEAST_MASK_RADIUS = 4.0


#: In larger maps one thing is done after the other: each takes several times the map's memory.
_MOST_VOXELS_AT_ONCE = 20_000_000


@dataclass(frozen=True, eq=False)
class Sampled:
    """What sampling left.

    Parameters
    ----------
    chains
        The chains, all run to their end.
    likelihood
        That of the last stage.
    seconds
        Wall-clock time of the chains, over all sessions of a resumed fit.
    starts
        Where they started.
    """

    chains: Sequence[Chain]
    likelihood: Likelihood
    seconds: float
    starts: Starts


def conclude(prepared: PreparedFit, sampled: Sampled, inputs: Mapping[str, str]) -> FitResult:
    """Return the result of a fit.

    The mean is taken over the draws of the first cluster, see :func:`bayesflex.clusters.find_clusters`. The fitted
    model is that mean, relaxed in the posterior at full resolution (by the prior alone in "global"), with all atoms
    carried along. Other clusters have models of their own, made alike.

    Parameters
    ----------
    prepared
        What the chains shared.
    sampled
        What they left.
    inputs
        Names of what was read, for the saved configuration. ``seconds.total`` is left to the caller.
    """
    trace = make_trace(prepared, sampled.chains)
    cutoff = max(_SAME_ANSWER_LEAST, _SAME_ANSWER_RESOLUTION * prepared.config.resolution)
    clusters = find_clusters(trace, cutoff)
    draws = trace.coords[clusters[0].members]  # (n_draws, n_ca, 3)
    # What needs nothing of each other is done side by side, so that no core is idle.
    n_threads = thread_count(prepared.config) if prepared.inputs.density.values.size <= _MOST_VOXELS_AT_ONCE else 1
    with threadpool_limits(1), Beside(n_threads) as beside:
        judging = beside.submit(lambda: convergence(trace))
        validating = {"start": beside.submit(lambda: _validated(prepared, prepared.inputs.structure, None))}
        posterior = full_posterior(prepared, sampled.likelihood)
        traces = [_geometry(prepared, posterior, cluster.mean) for cluster in clusters[:_MOST_MODELS]]
        carrier = make_carrier(prepared.inputs.structure)
        models = [prepared.inputs.structure.with_coords(carrier.carry(ca)) for ca in traces]
        validating["fitted"] = beside.submit(lambda: _validated(prepared, models[0], prepared.inputs.half_maps))
        moving = beside.submit(lambda: _domain_motions(prepared, draws))
        mean = _mean_structure(prepared.ca, draws)
        n_gradients = sum(chain.n_gradients for chain in sampled.chains)
        judged = judging.result()
        found = assess(prepared, draws, prepared.ca.with_coords(traces[0]), judged, n_gradients)
        fitted_map = map_of(prepared, traces[0])
        motions = moving.result()
        validation, complaints = _validations(validating)
    warnings = [*prepared.warnings, *warnings_of_starts(sampled.starts)]
    if len(clusters) > 1:
        files = [cluster_file(number) for number in range(1, len(models))]
        warnings.append(describe_clusters(clusters, trace, cutoff, files))
    warnings += [*judged.warnings, *warnings_of_exchanges(sampled.chains), *found.warnings, *complaints]
    summary = (
        _summary(prepared, sampled, posterior, mean.coords, traces[0], fitted_map)
        | summary_of_chains(trace, judged, clusters)
        | summary_of_starts(sampled.starts, len(sampled.chains))
        | summary_of_exchanges(sampled.chains)
        | summary_of_assessment(found)
        | {"domains": [asdict(motion) for motion in motions]}
        | {"seed": prepared.config.seed, "version": __version__, "warnings": warnings}
    )
    return FitResult(
        start=prepared.inputs.structure,
        config=prepared.config,
        trace=trace,
        mean=mean,
        fitted=models[0],
        fitted_map=fitted_map,
        density=prepared.inputs.density,
        modes=prepared.problem.modes,
        residual_map=_on_input_grid(found.residual.z_score, prepared.inputs.density),
        records=tuple(record for chain in sampled.chains for record in chain.records),
        convergence=judged,
        clusters=clusters,
        other_models=tuple(models[1:]),
        assessment=found,
        domain_motions=motions,
        validation=validation,
        warnings=tuple(warnings),
        summary=summary,
        inputs=inputs,
        domain_poses=sampled.starts.poses,
        docking_poses=prepared.docking_poses,
    )


def _domain_motions(prepared: PreparedFit, draws: NDArray[np.float32]) -> tuple[DomainMotion, ...]:
    """Return how the domains of the start moved; nothing where they were not to be looked for, or there is but one."""
    problem, config = prepared.problem, prepared.config
    domains = problem.domains
    if domains is None and config.domains and len(problem.start) <= MOST_RESIDUES:
        try:
            domains = find_domains(prepared.ca, config.network_cutoff)
        except InputError:  # a network too loose for so many modes has no domains to tell of
            return ()
    if domains is None or domains.n_domains < 2:
        return ()
    return measured_motions(domains, problem.start, draws, prepared.ca.residue_labels)


def _validated(prepared: PreparedFit, model: Structure, half_maps: tuple[DensityMap, DensityMap] | None) -> Validation:
    given = prepared.inputs
    return validate(model, given.density, prepared.config.resolution, half_maps, given.mask)


def _validations(validating: Mapping[str, Future[Validation]]) -> tuple[dict[str, Validation], tuple[str, ...]]:
    """Return the validation before and after, and a warning where a model cannot be judged: a fit is not lost by it."""
    try:
        start, end = validating["start"].result(), validating["fitted"].result()
    except BayesflexError as error:
        return {}, (f"The models were not validated: {error}",)
    return {"start": start, "fitted": replace(end, model="fitted")}, ()


def _geometry(prepared: PreparedFit, posterior: Posterior, mean: Array) -> Array:
    """Return a mean structure (n_ca, 3), Å, with a geometry that the prior allows."""
    if APPROACHES[prepared.config.deformation][1]:
        return relax(posterior, mean)
    # What modes alone do not reach is not for the map's pull on single residues to make up: geometry only.
    return restored(mean, posterior.terms)


def make_trace(prepared: PreparedFit, chains: Sequence[Chain]) -> Trace:
    """Return the draws of all chains as one trace."""

    def column(name: str) -> Array:
        return np.array([[row[name] for row in chain.draws.statistics] for chain in chains])

    coords = np.array([chain.draws.coords for chain in chains])
    numbers = () if prepared.problem.modes is None else prepared.config.modes
    amplitudes = np.zeros((*coords.shape[:2], len(numbers)))
    for index, number in enumerate(numbers):
        amplitudes[:, :, index] = column(f"{AMPLITUDE_PREFIX}{number}")
    return Trace(
        coords=coords,
        amplitudes=amplitudes,
        mode_numbers=np.array(numbers, dtype=np.int64),
        residues=prepared.ca.residue_labels,
        sample_stats={
            "lp": column("log_density"),
            "acceptance_rate": column("acceptance"),
            "diverging": column("divergent") > 0,
            "energy": column("hamiltonian"),
            "energy_error": column("energy_error"),
            "step_size": column("step_size"),
            "n_steps": column("n_steps").astype(np.int64),
            "cc_centred": column("cc_centred"),
        },
        log_likelihood=column("log_likelihood"),
        potential_energy=column("energy"),
    )


def full_posterior(prepared: PreparedFit, likelihood: Likelihood) -> Posterior:
    """Return the posterior of the coordinates at full resolution, every CA free."""
    problem = prepared.problem
    free = Deformation.local(problem.start)
    return problem.posterior(likelihood.clone(), [term.clone() for term in problem.terms], free)


def map_of(prepared: PreparedFit, ca: Array, beads: BeadModel | None = None) -> DensityMap:
    """Return the density of a CA trace (n_ca, 3), as the fit renders it, on the grid of the target and with its header.

    What is rendered but not moved is included, and density that no part of the model explains is not. ``beads`` are
    other ones than the fit's.
    """
    density, problem = prepared.inputs.density, prepared.problem
    nz, ny, nx = density.values.shape
    beads = problem.beads if beads is None else beads
    positions, weights = beads.place(ca), beads.weights
    if prepared.fixed_beads is not None:
        positions = np.concatenate([positions, prepared.fixed_beads[0]])
        weights = np.concatenate([weights, prepared.fixed_beads[1]])
    values = render(positions, weights, problem.target.sigma, (nz, ny, nx), density.voxel_size, density.origin)
    return replace(density.with_values(values.astype(np.float32)), name="fitted map", notes=())


def _mean_structure(ca: Structure, draws: NDArray[np.float32]) -> Structure:
    """Return the mean trace of the draws used; its B-factors are the posterior variance, mean over directions."""
    b_factor = np.array([b_factor_of_variance(value) for value in (spread(draws)[0] ** 2).tolist()])
    return replace(ca.with_coords(draws.mean(axis=0, dtype=np.float64)), b_factor=b_factor, name="mean")


def _on_input_grid(z_score: DensityMap, density: DensityMap) -> DensityMap:
    """Return the part of a map on the working grid that lies in the box of the input, whose voxels coincide."""
    first = np.rint((z_score.origin - density.origin) / density.voxel_size).astype(int)
    low = np.maximum(-first, 0)
    high = np.minimum(np.array(z_score.shape_xyz), np.array(density.shape_xyz) - first)
    part = tuple(slice(a, b) for a, b in zip(low[::-1], high[::-1], strict=True))
    origin = density.to_position((first + low).astype(np.float64))
    return density.on_grid(np.ascontiguousarray(z_score.values[part]), density.voxel_size, origin)


def _summary(
    prepared: PreparedFit,
    sampled: Sampled,
    posterior: Posterior,
    mean: Array,
    fitted: Array,
    fitted_map: DensityMap,
) -> dict[str, Any]:
    """Return the numbers of model, map and run; lengths in Å, energies in kcal/mol, log densities in nats."""
    config, problem, density = prepared.config, prepared.problem, prepared.inputs.density
    places = {"start": problem.start, "fitted": fitted}
    # The start is judged by what its own residues scatter, before side chains settled in the map.
    beads = {"start": prepared.start_beads, "fitted": problem.beads}
    maps = {"start": map_of(prepared, problem.start, prepared.start_beads), "fitted": fitted_map}
    correlation = {name: correlations(problem.target, beads[name], coords) for name, coords in places.items()}
    radius = max(config.resolution, _LEAST_MASK_RADIUS)
    n_gradients = sum(chain.n_gradients for chain in sampled.chains)
    n_threads = min(config.threads, config.chains)
    summary: dict[str, Any] = {
        "cc_uncentred": {name: values["cc_uncentred"] for name, values in correlation.items()},
        "cc_centred": {name: values["cc_centred"] for name, values in correlation.items()},
        "cc_mask": {
            name: cc_mask(maps[name].values, density.values, mask_around(density, coords, radius) > 0.5)
            for name, coords in places.items()
        },
        "cc_box": {name: cc_centred(simulated.values, density.values) for name, simulated in maps.items()},
        "energy": {
            name: sum(term.energy_and_gradient(coords)[0] for term in posterior.terms)
            for name, coords in places.items()
        },
        "log_density": {name: posterior.of_coordinates(coords)[0] for name, coords in places.items()},
        "likelihood": config.likelihood,
        "rmsd_start_to_fitted": rmsd(problem.start, fitted),
    }
    if problem.reference is not None and prepared.match is not None:
        answer, matched = problem.reference
        found = places | {"mean": mean}
        summary["rmsd_to_reference"] = {name: rmsd(coords[matched], answer) for name, coords in found.items()}
        summary["reference_match"] = prepared.match.message
    return summary | {
        "seconds": {"modes": prepared.seconds_modes, "sampling": sampled.seconds},
        "n_gradients": n_gradients,
        # A thread's time per gradient: the chains run at the same time.
        "milliseconds_per_gradient": 1e3 * sampled.seconds * n_threads / max(n_gradients, 1),
        "n_iterations": sum(len(chain.records) for chain in sampled.chains),
        "n_atoms": prepared.inputs.structure.n_atoms,
        "n_ca": prepared.ca.n_atoms,
        "grid": list(density.shape_xyz),
        "voxel_size": density.voxel_size.tolist(),
        "resolution": config.resolution,
        "sigma": problem.target.sigma,
        "side_chains_moved": 0.0 if prepared.scatterers is None else prepared.scatterers.moved,
        "unmodelled": [] if prepared.scatterers is None else [asdict(one) for one in prepared.scatterers.places],
        "region_volume": problem.target.region_volume,
        "observations": problem.target.counted_observations(config),
    }
