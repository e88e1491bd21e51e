"""Compare the sampling kernels on one small posterior: how many independent draws each gives per gradient.

Hamiltonian Monte Carlo, random-walk Metropolis (eq. 10 of Vuillemot and Jonic) and plain molecular dynamics (eq. 11,
12) start from the same warm state, with the same masses. Metropolis needs no gradient; its evaluations of the
density are counted in their place.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bayesflex.config import FitConfig
from bayesflex.deformation import Deformation
from bayesflex.diagnostics import r_hat_and_ess
from bayesflex.errors import ConfigError
from bayesflex.io.output_folder import make_folder, require_new_or_empty
from bayesflex.mcmc import HMC, DiagonalMass, DualAveraging, Mass, Metropolis, MolecularDynamics, warm_up
from bayesflex.plots import save_figure
from bayesflex.plots.samplers import SamplerRow, plot_samplers
from bayesflex.posterior import Posterior
from bayesflex.protocols import Kernel, KernelState
from bayesflex.sampling import Stage, stage_likelihoods
from bayesflex.synthetic import two_domain_pair
from bayesflex.workflows.preparation import Inputs, prepare
from bayesflex.workflows.run_files import write_text
from bayesflex.workflows.simulate import simulate

Array = NDArray[np.float64]

#: Resolution of the small posterior's map, Å.
_RESOLUTION = 6.0

#: Acceptance at which a random walk in many dimensions is quickest (Roberts, Gelman and Gilks 1997).
_RANDOM_WALK_ACCEPTANCE = 0.234

NUMBERS_FILE = "samplers.json"


@dataclass(frozen=True)
class SamplerPlan:
    """How the kernels are compared.

    Parameters
    ----------
    n_residues
        Size of the protein, which has three unknowns per residue.
    n_gradients
        Gradients that each chain of each kernel may spend.
    chains
        Chains of each kernel.
    steps
        Leapfrog steps, or proposals, of one iteration.
    seed
        Of everything.

    Raises
    ------
    ConfigError
        If there would be fewer than eight draws.
    """

    n_residues: int = 60
    n_gradients: int = 40_000
    chains: int = 4
    steps: int = 20
    seed: int = 1

    def __post_init__(self) -> None:
        if self.n_draws < 8 or self.chains < 1:
            raise ConfigError(
                f"samplers: expected at least 8 draws of {self.steps} gradients each in at least one chain, got "
                f"{self.n_gradients} gradients in {self.chains} chains"
            )

    @property
    def n_draws(self) -> int:
        """Draws of each chain."""
        return self.n_gradients // self.steps


def compare_samplers(plan: SamplerPlan) -> tuple[SamplerRow, ...]:
    """Run the kernels on the posterior of a small two-domain protein in its own map.

    The effective number of draws is the least over all coordinates and the log density (bulk ESS); its share of the
    evaluations tells how well a kernel uses them. MD has no acceptance test: its energy is off, by the amount shown.
    """
    with threadpool_limits(1):
        posterior = _posterior(plan.n_residues)
        seeds = np.random.SeedSequence(plan.seed).spawn(plan.chains)
        draws: dict[str, list[Array]] = {"hmc": [], "metropolis": [], "md": []}
        acceptances: dict[str, list[float]] = {name: [] for name in draws}
        counts = dict.fromkeys(draws, 0)
        for seed in seeds:
            rng = np.random.default_rng(seed)
            theta = np.zeros(posterior.deformation.n_dim)
            mass = DiagonalMass.uniform(len(theta))
            state, step = warm_up(rng, posterior, KernelState(theta, posterior(theta)), mass, 200, plan.steps)
            kernels: dict[str, Kernel] = {
                "hmc": HMC(posterior, mass, step, plan.steps),
                "metropolis": Metropolis(posterior, mass, _random_walk_step(rng, posterior, mass, state), plan.steps),
                "md": MolecularDynamics(posterior, mass, step, plan.steps),
            }
            for name, kernel in kernels.items():
                kept, acceptance, n_evaluations = _draws(rng, kernel, state, plan.n_draws)
                draws[name].append(kept)
                acceptances[name].append(acceptance)
                counts[name] += n_evaluations
    return tuple(_row(name, np.array(draws[name]), acceptances[name], counts[name]) for name in draws)


def run_samplers(out: Path, plan: SamplerPlan) -> tuple[SamplerRow, ...]:
    """Compare the kernels and write the numbers and the figure into a folder.

    Raises
    ------
    InputError
        If the folder is not empty or a file cannot be written.
    """
    require_new_or_empty(out)
    rows = compare_samplers(plan)
    make_folder(out)
    save_figure(plot_samplers(rows), out / "samplers.png")
    numbers = {"plan": asdict(plan), "kernels": {row.name: asdict(row) for row in rows}}
    write_text(out / NUMBERS_FILE, json.dumps(numbers, indent=2) + "\n")
    return rows


def _posterior(n_residues: int) -> Posterior:
    """Return the posterior over the local displacements of a protein in its own map, with the paper's likelihood."""
    closed, _ = two_domain_pair(n_residues)
    config = FitConfig(
        resolution=_RESOLUTION, deformation="local", bead="ca", likelihood="gaussian", anneal=False, threads=1
    )
    prepared = prepare(Inputs(closed, simulate(closed, resolution=_RESOLUTION)), config, lambda text: None)
    (likelihood,) = stage_likelihoods(prepared.problem, (Stage("sampling", _RESOLUTION, 1),))
    problem = prepared.problem
    return problem.posterior(likelihood, problem.terms, Deformation.local(problem.start))


def _random_walk_step(rng: Generator, posterior: Posterior, mass: Mass, state: KernelState) -> float:
    """Return the step size at which a random walk is accepted as often as is best."""
    # 2.4 / √n standard deviations is the best step for independent normals; the stiffest direction sets the scale.
    averaging = DualAveraging(1e-3 * 2.4 / math.sqrt(mass.n_dim), _RANDOM_WALK_ACCEPTANCE)
    for _ in range(400):
        state, info = Metropolis(posterior, mass, averaging.step_size, 1).step(rng, state)
        averaging = averaging.update(info.acceptance)
    return averaging.averaged_step_size


def _draws(rng: Generator, kernel: Kernel, state: KernelState, n_draws: int) -> tuple[Array, float, int]:
    """Return coordinates and log density of each draw, (n_draws, n_dim + 1), mean acceptance and evaluations."""
    kept = np.empty((n_draws, len(state.position) + 1))
    acceptance, n_evaluations = 0.0, 0
    for row in kept:
        state, info = kernel.step(rng, state)
        row[:-1], row[-1] = state.position, state.evaluation.log_density
        acceptance += info.acceptance / n_draws
        n_evaluations += info.n_gradients
    return kept, acceptance, n_evaluations


def _row(name: str, draws: Array, acceptances: list[float], n_evaluations: int) -> SamplerRow:
    r_hat, ess = r_hat_and_ess(draws)
    return SamplerRow(
        name=name,
        ess_min=float(np.nanmin(ess)),
        ess_median=float(np.nanmedian(ess)),
        r_hat_max=float(np.nanmax(r_hat)),
        n_evaluations=n_evaluations,
        acceptance=float(np.mean(acceptances)),
        log_density=float(draws[..., -1].mean()),
    )
