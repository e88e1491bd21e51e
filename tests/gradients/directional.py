"""The one directional difference against which every analytic gradient of the package is checked.

Import it as ``from gradients.directional import check_gradient``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Array = NDArray[np.float64]


def directional_difference(f: Callable[[Array], float], x: Array, direction: Array, step: float) -> float:
    """Return the derivative of ``f`` at ``x`` along ``direction`` by central differences of fourth order."""
    near = f(x + step * direction) - f(x - step * direction)
    far = f(x + 2.0 * step * direction) - f(x - 2.0 * step * direction)
    return (8.0 * near - far) / (12.0 * step)


def check_gradient(
    f: Callable[[Array], float],
    x: Array,
    gradient: Array,
    rng: Generator,
    *,
    n_directions: int = 5,
    step: float = 1e-3,
    rtol: float = 1e-6,
    atol: float = 1e-8,
) -> None:
    """Fail unless ``gradient`` is the gradient of ``f`` at ``x``.

    Directions are standard normal in every component, so that a wrong component anywhere shows, and the
    derivative along one has the size of the gradient's norm, with which the difference is compared.

    Parameters
    ----------
    f
        Function of an array of x's shape.
    x
        Where to check, any shape.
    gradient
        What is claimed, the shape of ``x``.
    rng
        Draws the directions.
    n_directions
        How many to try.
    step
        Length of the step in x's unit, per component. The error is of order step⁴.
    rtol
        Allowed difference relative to |gradient|.
    atol
        Allowed absolute difference of a derivative.
    """
    assert gradient.shape == x.shape, f"gradient of shape {gradient.shape} for a position of shape {x.shape}"
    assert np.all(np.isfinite(gradient)), "the gradient is not finite"
    tolerance = atol + rtol * float(np.linalg.norm(gradient))
    for k in range(n_directions):
        direction = rng.standard_normal(x.shape)
        expected = directional_difference(f, x, direction, step)
        got = float(np.sum(gradient * direction))
        assert abs(got - expected) <= tolerance, (
            f"direction {k}: gradient gives {got:.12g}, differences give {expected:.12g}, "
            f"off by {abs(got - expected):.3g} where {tolerance:.3g} is allowed"
        )
