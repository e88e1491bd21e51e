"""RunData: what is known of a run, as its page shows it; each part may be missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesflex.density_map import DensityMap
from bayesflex.metrics import MetricsTable
from bayesflex.structure import Structure

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RunData:
    """What is known of a run.

    Parameters
    ----------
    name
        Of the folder.
    settings
        Every setting as used, by name.
    inputs, provenance
        What was read (paths, hashes) and by which versions, as saved with the settings.
    command
        The command that repeats the run, or None where it was not begun by one.
    summary
        The numbers of ``summary.json``, or None where the run is not finished.
    start, fitted
        The model as given and as fitted: the same atoms, or None.
    density
        The map, or None.
    density_name
        What the map shown is called: the target, or what stands for it.
    contour
        Value at which its surface is drawn at first, or None for one from the map and the model.
    ensemble
        CA positions of draws, shape (n, n_ca, 3), Å, or None.
    residues
        Columns of ``uncertainty.csv`` and ``validation_residues.csv`` by name, shape (n_residues,), NaN where there is
        no number; a row for each residue of the fitted model, or no columns. ``ramachandran_outlier`` is 1 or 0.
    validation
        The numbers of ``validation.json`` by model, "start" and "fitted", or none.
    shells
        Columns of ``validation_fsc.csv`` by name, shape (n_shells,), NaN where there is no number, or none.
    metrics
        Every iteration of every chain, or None.
    notes
        Sentences on what the page lacks, and why.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    command: str | None = None
    summary: Mapping[str, Any] | None = None
    start: Structure | None = None
    fitted: Structure | None = None
    density: DensityMap | None = None
    density_name: str = ""
    contour: float | None = None
    ensemble: Array | None = None
    residues: Mapping[str, Array] = field(default_factory=dict)
    validation: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    shells: Mapping[str, Array] = field(default_factory=dict)
    metrics: MetricsTable | None = None
    notes: tuple[str, ...] = ()

    @property
    def model(self) -> Structure | None:
        """The fitted model, or the one given where there is none yet."""
        return self.start if self.fitted is None else self.fitted
