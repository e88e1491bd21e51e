"""One row of the table: a fit with default settings, measured against the known answer."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

import bayesflex
from bayesflex.config import FitConfig
from bayesflex.geometry import rmsd
from bayesflex.matching import match_residues
from bayesflex.sampling import correlations
from bayesflex.workflows.fit import FitResult, fit
from bayesflex.workflows.preparation import Inputs as FitInputs
from bayesflex.workflows.preparation import prepare
from benchmarks.accuracy.cases import Case, Inputs

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """What a fit of one case with one seed came to. Lengths in Å, CA RMSDs in place; NaN where not measured."""

    case: str
    seed: int
    resolution: float
    n_ca: int
    rmsd_start: float
    rmsd_fitted: float
    rmsd_mean: float
    rmsd_floor: float
    part_start: float
    part_fitted: float
    cc_centred_start: float
    cc_centred_fitted: float
    cc_centred_truth: float
    overfit: bool
    chains_used: int
    clusters: int
    acceptance: float
    seconds: float
    processor_seconds: float
    version: str

    def as_texts(self) -> dict[str, str]:
        """Return the columns as the CSV holds them."""
        texts = {}
        for name, value in asdict(self).items():
            texts[name] = f"{value:.4f}" if isinstance(value, float) else str(value)
        return texts


def measure(case: Case, inputs: Inputs, seed: int, floor: bool) -> Row:
    """Fit a case and, with ``floor``, the answer itself in the same map; return the row."""
    config = FitConfig(resolution=case.resolution, seed=seed)
    clock, processor = time.perf_counter(), time.process_time()
    result = fit(inputs.start, inputs.density, config, reference=inputs.answer)
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    deviation, correlation = result.summary["rmsd_to_reference"], result.summary["cc_centred"]
    truth = cc_of_truth(inputs, config, result)
    part_start, part_fitted = part_rmsds(case, inputs, result)
    reached = np.nan
    if floor:
        reached = fit(inputs.answer, inputs.density, config, reference=inputs.answer).summary["rmsd_to_reference"][
            "fitted"
        ]
    return Row(
        case=case.name,
        seed=seed,
        resolution=case.resolution,
        n_ca=result.summary["n_ca"],
        rmsd_start=deviation["start"],
        rmsd_fitted=deviation["fitted"],
        rmsd_mean=deviation["mean"],
        rmsd_floor=float(reached),
        part_start=part_start,
        part_fitted=part_fitted,
        cc_centred_start=correlation["start"],
        cc_centred_fitted=correlation["fitted"],
        cc_centred_truth=truth,
        overfit=bool(correlation["fitted"] > truth),
        chains_used=len(result.chains_used),
        clusters=len(result.clusters),
        acceptance=result.summary["acceptance"],
        seconds=clock,
        processor_seconds=processor,
        version=bayesflex.__version__,
    )


def cc_of_truth(inputs: Inputs, config: FitConfig, result: FitResult) -> float:
    """Return cc_centred of the answer over the region of the fit, with what the start's residues scatter.

    Residues that the answer lacks stay where the fit left them.
    """
    # Without modes there is less to prepare, and the region and the beads are the same.
    prepared = prepare(FitInputs(inputs.start, inputs.density), replace(config, deformation="local"), lambda text: None)
    answer = inputs.answer.trace()
    match = match_residues(prepared.ca, answer)
    coords = result.fitted.trace().coords.copy()
    coords[match.model_index] = answer.coords[match.reference_index]
    return correlations(prepared.problem.target, prepared.problem.beads, coords)["cc_centred"]


def part_rmsds(case: Case, inputs: Inputs, result: FitResult) -> tuple[float, float]:
    """Return the RMSDs in place of the case's part, at the start and fitted; NaN where it has none."""
    if case.part is None:
        return np.nan, np.nan
    ca, answer = inputs.start.trace(), inputs.answer.trace()
    match = match_residues(ca, answer)
    first, last = case.part[:2]
    numbers = ca.residue_number[match.model_index]
    of_part = (first <= numbers) & (numbers <= last)
    truth = answer.coords[match.reference_index][of_part]
    places = (ca.coords, result.fitted.trace().coords)
    start, fitted = (rmsd(coords[match.model_index][of_part], truth) for coords in places)
    return start, fitted
