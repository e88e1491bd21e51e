"""What is observed of a chain in each iteration: the numbers of a row of ``metrics.csv``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesflex.beads import BeadModel
from bayesflex.geometry import rmsd, superimpose
from bayesflex.map_target import MapTarget
from bayesflex.protocols import Evaluation, KernelInfo, PosteriorDetails
from bayesflex.sampling.correlation import MapCorrelation
from bayesflex.sampling.problem import Problem

Array = NDArray[np.float64]


def correlations(target: MapTarget, beads: BeadModel, coords: Array) -> dict[str, float]:
    """Return cc_uncentred (eq. 8) and cc_centred of the model's density with the map, over the region that counts.

    Parameters
    ----------
    target
        The prepared map.
    beads
        What the residues scatter.
    coords
        CA positions, shape (n_ca, 3), Å.
    """
    return MapCorrelation(target, beads, coords)(coords)


def mode_amplitudes(problem: Problem, coords: Array) -> Array:
    """Return ``a_m = A_m·(r_aligned - r_0)``, shape (n_modes,), Å, along the modes of the start.

    The structure is superposed on the start first where the fit may move it as a whole.
    """
    aligned = coords
    if problem.config.deformation != "global" or problem.config.rigid or problem.domains is not None:
        fit = superimpose(coords, problem.start)
        aligned = coords @ fit.rotation.T + fit.translation
    modes = problem.mode_vectors
    return np.asarray(modes.reshape(len(modes), -1) @ (aligned - problem.start).ravel())


class Observer:
    """Observes one chain.

    Parameters
    ----------
    problem
        What is fitted.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._correlation = problem.correlation.clone()

    def __call__(self, evaluation: Evaluation, info: KernelInfo | None) -> dict[str, float]:
        """Return the metrics of one iteration.

        Parameters
        ----------
        evaluation
            The posterior's evaluation where the chain is.
        info
            What the kernel did, or None where there was none (the start, steering).
        """
        problem = self._problem
        details: PosteriorDetails = evaluation.details
        values = self._correlation(details.coords)
        values |= {
            "log_density": evaluation.log_density,
            "log_likelihood": details.log_likelihood,
            "energy": details.energy,
        }
        if info is not None:
            values |= {
                "acceptance": info.acceptance,
                "step_size": info.step_size,
                "divergent": float(info.divergent),
            }
        if problem.reference is not None:
            answer, matched = problem.reference
            values["rmsd_to_reference"] = rmsd(details.coords[matched], answer)
        if problem.modes is not None:
            for number, amplitude in zip(problem.config.modes, mode_amplitudes(problem, details.coords), strict=True):
                values[f"amplitude_{number}"] = float(amplitude)
        return values
