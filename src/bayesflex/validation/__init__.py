"""Validation of a model in a map: its fit to the map, whole and residue by residue, and its geometry."""

from bayesflex.validation.result import ChainScores, ResidueScores, Validation, compared_rows, validation_rows
from bayesflex.validation.validate import validate

__all__ = ["ChainScores", "ResidueScores", "Validation", "compared_rows", "validate", "validation_rows"]
