"""CA traces in a map, as a picture: the map's surface translucent, the trace in it, part of it in another colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from bayesflex.density_map import DensityMap
from bayesflex.errors import InputError
from bayesflex.plots.style import DPI, FONT_SIZE, OKABE_ITO, SMALL_FONT_SIZE, WIDTH
from bayesflex.structure import Structure

Array = NDArray[np.float64]

TRACE_COLOUR, MARKED_COLOUR = OKABE_ITO[0], OKABE_ITO[1]
_SURFACE_COLOUR = (0.62, 0.62, 0.62)
_SURFACE_ALPHA = 0.42

#: Consecutive CA further apart than this (Å) are not joined: a chain ends or has a gap.
_LONGEST_BOND = 5.5

#: Pixels along the longer edge of the view, and room around the model, Å.
_PIXELS, _MARGIN = 220, 12.0

#: The surface encloses this multiple of the volume of the model's residues (Å³ each).
_VOLUME_RATIO, _RESIDUE_VOLUME = 1.2, 133.0

#: Smallest width (Å) to which the map is blurred for its surface: noise and side chains would hide its shape.
_SURFACE_BLUR = 2.5


class _View(NamedTuple):
    """An orthographic view: rows are the directions to the right, up and towards the reader."""

    name: str
    axes: Array  # (3, 3)


def plot_structures(
    density: DensityMap, ca: Structure, traces: Mapping[str, Array], marked: NDArray[np.bool_]
) -> Figure:
    """Draw traces in a map, a column each, seen from the side and from the top: Fig. 1a, b of Vuillemot and Jonic.

    The top view is along the direction in which the first trace extends least.

    Parameters
    ----------
    density
        The map.
    ca
        The CA atoms; its positions are not used.
    traces
        Positions by title, shape (n_ca, 3) each, Å.
    marked
        CA drawn in the second colour, shape (n_ca,).

    Raises
    ------
    InputError
        If there is no trace, or one has another number of CA.
    """
    if not traces:
        raise InputError("figure: expected at least one trace to draw, got none")
    for title, coords in traces.items():
        if coords.shape != (ca.n_atoms, 3) or not np.isfinite(coords).all():
            raise InputError(
                f"figure: trace {title!r}: expected {ca.n_atoms} finite positions, got an array of shape {coords.shape}"
            )
    surface, contour = _surface(density, ca.n_atoms)
    everything = np.concatenate([*traces.values(), _enclosed(surface, contour)])
    centre = 0.5 * (everything.min(axis=0) + everything.max(axis=0))
    views = _views(next(iter(traces.values())), marked)
    reaches = [np.abs((everything - centre) @ view.axes.T).max(axis=0) + _MARGIN for view in views]
    # Panels as large as the width allows, each as high as its view.
    heights = [float(reach[1] / max(other[0] for other in reaches)) for reach in reaches]
    panel = WIDTH / max(len(traces), 2)
    figure = Figure(figsize=(WIDTH, 0.45 + panel * sum(heights)), dpi=DPI, layout="constrained", facecolor="white")
    axes = figure.subplots(len(views), len(traces), squeeze=False, height_ratios=heights)
    for title, axis in zip(traces, axes[0], strict=True):
        axis.set_title(title, fontsize=FONT_SIZE)
    for row, view, reach in zip(axes, views, reaches, strict=True):
        shade = _shaded(surface, contour, view, centre, reach)
        right, up, _ = reach.tolist()
        for axis, coords in zip(row, traces.values(), strict=True):
            axis.add_collection(_lines(ca, (coords - centre) @ view.axes.T, marked))
            axis.imshow(shade, extent=(-right, right, -up, up), origin="lower", interpolation="bilinear", zorder=3)
            axis.set(xlim=(-right, right), ylim=(-up, up), aspect="equal", xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        row[0].set_ylabel(view.name, fontsize=SMALL_FONT_SIZE)
    return figure


def _views(coords: Array, marked: NDArray[np.bool_]) -> tuple[_View, ...]:
    """Return a view from the side, the thinnest direction upwards and marked parts at the top, and one from above."""
    _, _, directions = np.linalg.svd(coords - coords.mean(axis=0), full_matrices=False)
    longest, _, thinnest = (row * np.sign(row[np.argmax(np.abs(row))]) for row in directions)
    if marked.any() and (coords[marked].mean(axis=0) - coords.mean(axis=0)) @ thinnest < 0.0:
        thinnest = -thinnest
    towards = np.cross(longest, thinnest)
    return (
        _View("side", np.array([longest, thinnest, towards])),
        _View("top", np.array([longest, -towards, thinnest])),
    )


def _surface(density: DensityMap, n_residues: int) -> tuple[DensityMap, float]:
    """Return the map, smoothed a little, and the value at its surface."""
    smooth = ndimage.gaussian_filter(
        np.asarray(density.values, dtype=np.float64), _SURFACE_BLUR / density.voxel_size[::-1], mode="nearest"
    )
    n_voxels = _VOLUME_RATIO * n_residues * _RESIDUE_VOLUME / float(np.prod(density.voxel_size))
    contour = float(np.quantile(smooth, 1.0 - min(n_voxels / smooth.size, 0.5)))
    return density.with_values(smooth), contour


def _enclosed(surface: DensityMap, contour: float) -> Array:
    """Return the positions of voxels inside the largest body of the surface, shape (n, 3), Å."""
    bodies, n_bodies = ndimage.label(surface.values > contour)
    largest = 1 + int(np.argmax(np.bincount(bodies.ravel(), minlength=n_bodies + 1)[1:])) if n_bodies else 0
    return surface.to_position(np.argwhere(bodies == largest)[:, ::-1].astype(np.float64))


def _shaded(surface: DensityMap, contour: float, view: _View, centre: Array, reach: Array) -> NDArray[np.float64]:
    """Return the surface as seen from outside, lit from the upper left: colours and opacity, (n, n, 4)."""
    step = 2.0 * float(reach.max()) / _PIXELS
    rights, ups, depths = (np.linspace(-edge, edge, max(2, round(2.0 * edge / step))) for edge in reach.tolist())
    # Rays run from the reader inwards.
    depth, up, right = np.meshgrid(depths[::-1], ups, rights, indexing="ij", sparse=True)
    points = [
        centre[axis] + right * view.axes[0, axis] + up * view.axes[1, axis] + depth * view.axes[2, axis]
        for axis in range(3)
    ]
    index = [(point - surface.origin[axis]) / surface.voxel_size[axis] for axis, point in enumerate(points)]
    values = ndimage.map_coordinates(
        surface.values, index[::-1], order=1, mode="constant", cval=-np.inf, prefilter=False
    )
    inside = values > contour
    hit = inside.any(axis=0)
    front = inside.argmax(axis=0)
    height = ndimage.gaussian_filter(depths[::-1][front], 0.8)
    slope_up, slope_right = np.gradient(height, ups, rights)
    normal = np.stack([-slope_right, -slope_up, np.ones_like(height)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    light = np.array([-0.4, 0.5, 0.77])
    brightness = 0.45 + 0.65 * np.clip(normal @ light, 0.0, 1.0)
    image = np.empty((*height.shape, 4))
    image[..., :3] = np.clip(np.array(_SURFACE_COLOUR) * brightness[..., None], 0.0, 1.0)
    image[..., 3] = _SURFACE_ALPHA * ndimage.gaussian_filter(hit.astype(np.float64), 0.7)
    return image


def _lines(ca: Structure, seen: Array, marked: NDArray[np.bool_]) -> LineCollection:
    """Return the bonds of a trace, those behind first and paler."""
    joined = (ca.chain[1:] == ca.chain[:-1]) & (np.linalg.norm(np.diff(seen, axis=0), axis=1) < _LONGEST_BOND)
    bond = np.flatnonzero(joined)
    bond = bond[np.argsort(seen[bond, 2] + seen[bond + 1, 2], kind="stable")]
    segments = np.stack([seen[bond, :2], seen[bond + 1, :2]], axis=1)
    base = np.where(marked[bond, None], to_rgb(MARKED_COLOUR), to_rgb(TRACE_COLOUR))
    depth = seen[bond, 2]
    nearness = (depth - depth.min()) / max(float(np.ptp(depth)), 1e-9) if len(bond) else depth
    colours = 1.0 - (0.35 + 0.65 * nearness[:, None]) * (1.0 - base)
    return LineCollection(list(segments), colors=colours, linewidths=1.0, capstyle="round", zorder=2)
