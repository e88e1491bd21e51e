"""Kernels on the grid: what output maps are made with, and what the overlap without a grid is compared with."""

from __future__ import annotations

import numpy as np
from tests.reference import plain_rendering

from bayesflex.rendering import WINDOW, render, render_gradient
from benchmarks.cases import SIGMA, Setup
from benchmarks.kernel import Kernel
from benchmarks.timing import in_python
from benchmarks.work import Work

CUT = WINDOW * SIGMA


def windows(setup: Setup) -> tuple[np.ndarray, np.ndarray]:
    """Return the first voxel and the number of voxels of each bead's window along x, y and z, each (n, 3)."""
    relative = setup.coords - setup.origin
    last = np.array(setup.shape[::-1]) - 1
    low = np.maximum(np.ceil((relative - CUT) / setup.voxel), 0).astype(np.int64)
    high = np.minimum(np.floor((relative + CUT) / setup.voxel), last).astype(np.int64)
    return low, np.maximum(high - low + 1, 0)


def voxels_touched(setup: Setup) -> int:
    """Return the number of voxels that lie in any window."""
    touched = np.zeros(setup.shape, dtype=bool)
    for (x, y, z), (nx, ny, nz) in zip(*(part.tolist() for part in windows(setup)), strict=True):
        touched[z : z + nz, y : y + ny, x : x + nx] = True
    return int(np.count_nonzero(touched))


def _sizes(setup: Setup) -> tuple[float, float, float]:
    """Return the numbers of planes, rows and voxels of all windows together."""
    nx, ny, nz = windows(setup)[1].T
    return float(nz.sum()), float((nz * ny).sum()), float((nz * ny * nx).sum())


def _edges(setup: Setup) -> float:
    """Return the operations for the Gaussian factors: offset (2), its square with the scale (2), a product (1)."""
    return 5.0 * float(windows(setup)[1].sum())


def rendering_operations(setup: Setup) -> float:
    """Return the operations of rendering: a multiply-add for each voxel, a product for each row."""
    _, rows, voxels = _sizes(setup)
    return 2.0 * voxels + rows + _edges(setup)


def gradient_operations(setup: Setup) -> float:
    """Return those of its gradient: two multiply-adds for each voxel, 7 for each row, 7 for each plane, 1 an edge."""
    planes, rows, voxels = _sizes(setup)
    return 4.0 * voxels + 7.0 * rows + 7.0 * planes + _edges(setup)


def rendering(setup: Setup) -> Kernel:
    out = np.zeros(setup.shape)
    arguments = (setup.coords, setup.weights, SIGMA, setup.shape, setup.voxel, setup.origin)
    work = Work(
        reads=(setup.coords, setup.weights),
        writes=(),
        operations=rendering_operations(setup),
        scattered=2 * out.itemsize * voxels_touched(setup),
    )
    return Kernel("grid rendering", in_python(render, arguments), work)


def rendering_gradient(setup: Setup) -> Kernel:
    gradient = np.zeros_like(setup.coords)
    arguments = (setup.density, setup.coords, setup.weights, SIGMA, setup.voxel, setup.origin)
    work = Work(
        reads=(setup.coords, setup.weights),
        writes=(gradient,),
        operations=gradient_operations(setup),
        scattered=setup.density.itemsize * voxels_touched(setup),
    )
    return Kernel("grid gradient", in_python(render_gradient, arguments), work)


def plain_twin(setup: Setup) -> Kernel:
    """Rendering, correlation and gradient in NumPy, a bead at a time; it must do what the grid's kernels must."""
    values, n_voxels = setup.target.values, setup.target.values.size
    arguments = (values, setup.coords, setup.weights, SIGMA, setup.voxel, setup.origin)
    # Correlation: two means and their subtraction, two squares, a product, and the derivative (4).
    work = Work(
        reads=(setup.coords, setup.weights, values),
        writes=(),
        operations=rendering_operations(setup) + gradient_operations(setup) + 14.0 * n_voxels,
        # The density is written, and read again.
        scattered=2.0 * values.nbytes,
    )
    return Kernel("plain twin", in_python(plain_rendering.correlation_and_gradient, arguments), work)
