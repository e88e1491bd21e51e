"""What is observed of a chain in each iteration: the numbers of a row of ``metrics.csv``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesflex.beads import BeadModel
from bayesflex.geometry import nearest_rotation, rmsd
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


class ModeProjection:
    """Amplitudes ``a_m = A_m·(r_aligned - r_0)`` along the modes of the start, of one structure after another.

    A structure is superposed on the start first where the fit may move it as a whole.

    Parameters
    ----------
    problem
        What is fitted.
    """

    def __init__(self, problem: Problem) -> None:
        self._aligns = problem.config.deformation != "global" or problem.config.rigid or problem.domains is not None
        self._centre = problem.start.mean(axis=0)
        self._start = problem.start - self._centre
        self._modes = problem.mode_vectors.reshape(len(problem.mode_vectors), -1)
        self._of_start = self._modes @ self._start.ravel()
        self._of_shifts = problem.mode_vectors.sum(axis=1)

    def __call__(self, coords: Array) -> Array:
        """Return the amplitudes, shape (n_modes,), Å, of positions (n_ca, 3), Å."""
        centre = np.add.reduce(coords) / len(coords)
        moved = coords - centre
        if self._aligns:
            moved = moved @ nearest_rotation(self._start.T @ moved).T
            return np.asarray(self._modes @ moved.ravel() - self._of_start)
        return np.asarray(self._modes @ moved.ravel() - self._of_start + self._of_shifts @ (centre - self._centre))


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
        self._amplitudes = None if problem.modes is None else ModeProjection(problem)

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
        if self._amplitudes is not None:
            for number, amplitude in zip(problem.config.modes, self._amplitudes(details.coords), strict=True):
                values[f"amplitude_{number}"] = float(amplitude)
        return values
