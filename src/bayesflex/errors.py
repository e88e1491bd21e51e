"""The errors that bayesflex raises on purpose.

Each message names the input, what was expected, what was got and what to do.
The command line shows the message alone and exits with code 2; anything that
is not a :class:`BayesflexError` is a defect and keeps its traceback.
"""


class BayesflexError(Exception):
    """Base of every error that bayesflex raises on purpose."""


class InputError(BayesflexError):
    """An input file or array cannot be used as it is."""


class ConfigError(BayesflexError):
    """A setting is unknown, of the wrong type, or outside its range."""


class SamplingError(BayesflexError):
    """The sampler cannot go on, for example since no finite start was found."""
