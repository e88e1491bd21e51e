"""Noise models of the map: one per file, listed in a table."""

from bayesflex.likelihood.gaussian import GaussianLikelihood
from bayesflex.likelihood.half_maps import HalfMapLikelihood
from bayesflex.likelihood.marginal import MarginalLikelihood

#: Name in the configuration -> class.
LIKELIHOODS = {
    MarginalLikelihood.name: MarginalLikelihood,
    HalfMapLikelihood.name: HalfMapLikelihood,
    GaussianLikelihood.name: GaussianLikelihood,
}
