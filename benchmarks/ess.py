"""Effective draws per second of processor time, by masses and integrator: ``python -m benchmarks.ess``.

All samplers draw from one posterior, that of a model in a map that it fits, and all start from the same draws of it.
Each then finds its own step size for one target of the acceptance, is frozen and sampled. In one run, chains in
turns, on one thread: trust the ratios more than the numbers.

With unit masses a chain of affordable length does not cross the density, and what it then shows as effective draws is
no estimate. A bound needs no crossing. A chain of Hamiltonian trajectories with fresh momenta is reversible. For a
reversible chain with transition operator P and a quantity f of mean 0 and variance 1 the integrated autocorrelation
time is τ = 2 ⟨f, (1 - P)⁻¹ f⟩ - 1, and ⟨f, (1 - P)⁻¹ f⟩ ≥ ⟨f, g⟩² / ⟨g, (1 - P) g⟩ for any g (Cauchy and Schwarz; so
used by Caracciolo, Pelissetto and Sokal 1990, J. Stat. Phys. 60, 1). With g = Σ Pⁱ f, i < L, this is

    τ ≥ 2 (Σ ρ_i)² / Σ (ρ_i - ρ_{i+L}) - 1,    i = 0 ... L - 1,

ρ_i the autocorrelation at lag i, and for L = 1 (1 + ρ) / (1 - ρ). And 1 - ρ_i is half the mean squared change over i
draws in units of the variance: the first is known from any stretch of the chain, the second from the sampler that does
cross. So effective draws are at most n / τ with that τ, and ratios to them are at least what is shown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

import bayesflex
from bayesflex import synthetic
from bayesflex.config import FitConfig
from bayesflex.deformation import Deformation
from bayesflex.diagnostics import r_hat_and_ess
from bayesflex.io.atomic import atomic_path
from bayesflex.io.maps import read_map
from bayesflex.io.structures import read_structure
from bayesflex.mcmc import HMC, LEAPFROG, MINIMAL_ERROR, DiagonalMass, Mass, warm_up
from bayesflex.posterior import Posterior
from bayesflex.protocols import KernelState
from bayesflex.sampling import ModeProjection, Problem, stage_likelihoods
from bayesflex.sampling.preconditioning import matched_mass, unit_mass
from bayesflex.structure import Structure
from bayesflex.units import resolution_of_sigma
from bayesflex.workflows.preparation import Inputs, prepare
from bayesflex.workflows.simulate import simulate
from benchmarks.tables import effective_draws

Array = NDArray[np.float64]

#: The other samplers are held against these: that of a fit, and unit masses on all unknowns.
FIT, UNIT = "fit", "unit masses"

#: CA whose coordinates count, evenly along the chain: as many as a fit judges its chains by.
_N_CA = 64

#: Chains of each sampler; draws that each start comes after the one before; iterations in which step sizes adapt.
_N_CHAINS, _BETWEEN, _N_ADAPTING = 4, 25, 100

#: L of the bound, and the least fall of correlations over as many draws, against division by zero.
_LAGS, _LEAST_FALL = 5, 1e-12


@dataclass(frozen=True)
class EssCase:
    """A model in a map of its own. ``files`` below BAYESFLEX_DATA are used where they are there."""

    name: str
    made: Callable[[], Structure]
    files: tuple[str, ...]  # model, and map where there is one
    resolution: float  # Å
    voxel: float  # Å, of a map made here
    box: int
    unit_beads: bool  # the paper's, of weight 1 on CA; else what fits use
    n_draws: int  # of each chain

    def prepared(self) -> tuple[str, Problem, Posterior]:
        """Return what to call the model, the problem of a fit, and the posterior that its last stage samples."""
        folder = Path(os.environ.get("BAYESFLEX_DATA", ""))
        there = all((folder / file).is_file() for file in self.files)
        structure = read_structure(folder / self.files[0]) if there else self.made()
        if there and len(self.files) > 1:
            density = read_map(folder / self.files[1])
        else:
            density = simulate(
                structure, resolution=self.resolution, voxel=self.voxel, box=self.box, noise=0.1, kernel="gaussian"
            )
        sigma = 2.0 if self.unit_beads else None
        config = FitConfig(resolution=self.resolution, sigma=sigma, threads=1)
        fit = prepare(Inputs(structure, density), config, lambda text: None)
        likelihood = stage_likelihoods(fit.problem, fit.stages)[-1]
        problem = fit.problem
        deformation = Deformation.tethered("combined", problem.start, problem.mode_vectors, False)
        name = Path(self.files[0]).name.partition(".")[0] if there else "made by the program"
        return name, problem, problem.posterior(likelihood, problem.terms, deformation)


_SIGMA_2 = resolution_of_sigma(2.0)
CASES = (
    EssCase("AdK", lambda: synthetic.two_domain_protein(214), ("adk/4ake_A.pdb",), _SIGMA_2, 1.5, 64, True, 500),
    EssCase(
        "GroEL",
        lambda: synthetic.two_domain_protein(524),
        ("groel/1sx4A.pdb", "groel/1sx4A.ccp4"),
        10.0,
        2.0,
        96,
        False,
        250,
    ),
    EssCase("p97", lambda: synthetic.hexamer(728), ("p97/5ftm.pdb.gz",), _SIGMA_2, 2.0, 128, True, 100),
)


def _ones(posterior: Posterior, theta: Array, rng: Generator) -> Mass:
    return DiagonalMass.uniform(theta.size)


@dataclass(frozen=True)
class Sampler:
    """Masses and integrator, and what to call them."""

    name: str
    mass: Callable[[Posterior, Array, Generator], Mass]
    outer_kick: float


SAMPLERS = (
    Sampler(FIT, matched_mass, MINIMAL_ERROR),
    Sampler("fit, with leapfrog", matched_mass, LEAPFROG),
    Sampler("unit masses, modes fast", unit_mass, LEAPFROG),
    Sampler(UNIT, _ones, LEAPFROG),
)


@dataclass(eq=False)
class Chains:
    """A frozen kernel and what its chains gave."""

    kernel: HMC
    draws: list[Array]  # of each chain, (n_draws, n_ca, 3), Å
    acceptances: list[float]
    seconds: float = 0.0
    n_gradients: int = 0


def sample(case: EssCase, problem: Problem, posterior: Posterior, n_draws: int) -> dict[str, Chains]:
    """Return the chains of each sampler, all of which start from the same draws."""
    rng = np.random.default_rng(1)
    deformation, steps = posterior.deformation, problem.config.steps
    theta = np.zeros(deformation.n_dim)
    cold = KernelState(theta, posterior(theta))
    # As a fit: the sampler that all are held against makes the draws that all start from.
    mass = matched_mass(posterior, theta, rng)
    state, step = warm_up(rng, posterior, cold, mass, _N_ADAPTING, steps, outer_kick=MINIMAL_ERROR)
    kernel = HMC(posterior, mass, step, steps, outer_kick=MINIMAL_ERROR)
    starts = []
    for _ in range(_N_CHAINS):
        for _ in range(_BETWEEN):
            state, _ = kernel.step(rng, state)
            state = state._replace(position=deformation.reset_gauge(state.position))
        starts.append(state)
    frozen = {}
    for sampler in SAMPLERS:
        mass = sampler.mass(posterior, theta, rng)
        _, step = warm_up(
            rng, posterior, starts[0], mass, _N_ADAPTING, steps, n_heating=0, outer_kick=sampler.outer_kick
        )
        frozen[sampler.name] = Chains(HMC(posterior, mass, step, steps, outer_kick=sampler.outer_kick), [], [])
    for start in starts:
        for chains in frozen.values():
            chains.draws.append(_chain(rng, chains, start, deformation, n_draws))
    return frozen


def _chain(rng: Generator, chains: Chains, state: KernelState, deformation: Deformation, n_draws: int) -> Array:
    draws = np.empty((n_draws, *deformation.start.shape))
    for draw in draws:
        began = time.thread_time()
        state, info = chains.kernel.step(rng, state)
        state = state._replace(position=deformation.reset_gauge(state.position))
        chains.seconds += time.thread_time() - began
        chains.n_gradients += info.n_gradients
        chains.acceptances.append(info.acceptance)
        draw[:] = state.evaluation.details.coords
    return draws


def most_effective_draws(draws: Array, variance: Array) -> Array:
    """Return the bound on effective draws that the module's page derives, shape (n_quantities,).

    Parameters
    ----------
    draws
        Shape (n_chains, n_draws, n_quantities), of reversible chains at equilibrium.
    variance
        Of the quantities, shape (n_quantities,), from a sampler that crosses the density.
    """
    n_chains, n_draws, _ = draws.shape
    changes = [np.square(draws[:, lag:] - draws[:, :-lag]).mean(axis=(0, 1)) for lag in range(1, 2 * _LAGS)]
    rho = 1.0 - 0.5 * np.array([np.zeros_like(variance), *changes]) / variance  # (2 L, n_quantities)
    falls = (rho[:_LAGS] - rho[_LAGS:]).sum(axis=0)
    time = 2.0 * rho[:_LAGS].sum(axis=0) ** 2 / np.maximum(falls, _LEAST_FALL) - 1.0
    # Antithetic draws may be worth more than independent ones, but as in a bulk ESS not without bound.
    bound: Array = n_chains * n_draws / np.maximum(time, 1.0 / np.log10(n_chains * n_draws))
    return bound


def measure(case: EssCase, n_draws: int | None = None) -> dict[str, Any]:
    """Return the numbers of a case."""
    model, problem, posterior = case.prepared()
    n_draws = case.n_draws if n_draws is None else n_draws
    sampled = sample(case, problem, posterior, n_draws)
    beads = np.linspace(0, len(problem.start) - 1, min(_N_CA, len(problem.start))).astype(np.int64)
    amplitudes_of = ModeProjection(problem)
    quantities = {
        name: {
            "amplitudes": np.array([list(map(amplitudes_of, chain)) for chain in chains.draws]),
            "coordinates": np.array([chain[:, beads].reshape(n_draws, -1) for chain in chains.draws]),
        }
        for name, chains in sampled.items()
    }
    variances = {kind: values.var(axis=(0, 1), ddof=1) for kind, values in quantities[FIT].items()}
    rows = []
    rates: dict[str, dict[str, tuple[Array, Array]]] = {}
    for name, chains in sampled.items():
        row: dict[str, Any] = {
            "sampler": name,
            "step_size": chains.kernel.step_size,
            "acceptance": float(np.mean(chains.acceptances)),
            "gradients_per_second": chains.n_gradients / chains.seconds,
            "seconds": chains.seconds,
        }
        rates[name] = {}
        for kind, values in quantities[name].items():
            r_hat, ess = r_hat_and_ess(values)
            rate = ess / chains.seconds
            bound = most_effective_draws(values, variances[kind]) / chains.seconds
            rates[name][kind] = rate, bound
            row[kind] = {
                "worst": float(rate.min()),
                "median": float(np.median(rate)),
                "worst_at_most": float(bound.min()),
                "median_at_most": float(np.median(bound)),
                "worst_r_hat": float(r_hat.max()),
                "fewest_effective_draws": float(ess.min()),
            }
        rows.append(row)
    gains = {}
    for name in sampled:
        if name == FIT:
            continue
        gains[name] = {}
        for kind in ("amplitudes", "coordinates"):
            at_least = rates[FIT][kind][0] / rates[name][kind][1]
            gains[name][kind] = {"worst": float(at_least.min()), "median": float(np.median(at_least))}
    return {
        "name": case.name,
        "model": model,
        "n_ca": len(problem.start),
        "resolution": case.resolution,
        "n_chains": _N_CHAINS,
        "n_draws": n_draws,
        "samplers": rows,
        "at_least_times": gains,
    }


def table_of(case: dict[str, Any]) -> Table:
    """Return a case's table."""
    table = Table(title=f"{case['name']}: {case['n_ca']:,} CA ({case['model']})")
    for heading in (
        "sampler",
        "step",
        "acceptance",
        "gradients/s",
        "amplitudes/s\nworst, median",
        "at most\nworst, median",
        "coordinates/s\nworst, median",
        "at most\nworst, median",
        "R-hat",
    ):
        table.add_column(heading, justify="left" if heading == "sampler" else "right")
    for row in case["samplers"]:
        worst_r_hat = max(row[kind]["worst_r_hat"] for kind in ("amplitudes", "coordinates"))
        table.add_row(*effective_draws(row), f"{worst_r_hat:.2f}")
    return table


def gain_lines(case: dict[str, Any]) -> list[str]:
    """Return how many times as many effective draws a fit makes as each other sampler can have made."""
    return [
        f"{case['name']}, a fit against {name}: amplitudes at least {gain['amplitudes']['median']:.3g} times (median; "
        f"worst {gain['amplitudes']['worst']:.3g}), coordinates {gain['coordinates']['median']:.3g} "
        f"({gain['coordinates']['worst']:.3g})"
        for name, gain in case["at_least_times"].items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ess", description=__doc__.split("\n\n")[0])
    parser.add_argument("--case", choices=[case.name for case in CASES], help="one of them; all by default")
    parser.add_argument("--draws", type=int, help="draws of each chain, instead of what suits the case")
    parser.add_argument("-o", "--output", type=Path, help="also write the numbers to this file, as JSON")
    arguments = parser.parse_args()
    console = Console(width=140)
    measured = []
    with threadpool_limits(1):
        for case in CASES:
            if arguments.case in (None, case.name):
                console.print(f"{case.name} ...", style="dim")
                measured.append(measure(case, arguments.draws))
    for numbers in measured:
        console.print(table_of(numbers))
        for line in gain_lines(numbers):
            console.print(line, highlight=False)
    if arguments.output:
        record = {"version": bayesflex.__version__, "machine": platform.processor(), "cases": measured}
        with atomic_path(arguments.output) as path:
            path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
