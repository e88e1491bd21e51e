"""Noise models of the map: one per file, listed in a table."""

from bayesflex.likelihood.gaussian import GaussianLikelihood
from bayesflex.likelihood.marginal import MarginalLikelihood

#: Name in the configuration -> class.
LIKELIHOODS = {GaussianLikelihood.name: GaussianLikelihood, MarginalLikelihood.name: MarginalLikelihood}
