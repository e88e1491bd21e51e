"""What the machine can do: its arithmetic rate and its memory bandwidth, measured by kernels that do nothing else.

All run on one thread. Arithmetic is done on numbers in registers, in chains that do not wait for each other; memory is
read, copied or combined (a + s b, the triad of STREAM) from arrays that begin on a cache line.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesflex.simd import WIDTH, load, splat, square_root, store, total
from benchmarks.timing import Repeated

Array = NDArray[np.float64]

LINE = 64  # bytes of a cache line
_UNROLLED = 4 * WIDTH

#: Turns of an arithmetic probe's own loop: some 10 µs.
_TURNS = 10_000

# Factors below one keep the numbers finite for any number of turns.
_FACTOR, _ADDED = 0.999999, 1e-7


@njit(cache=True, nogil=True, error_model="numpy")
def _vector_kernel(turns):  # type: ignore[no-untyped-def]
    """Twelve chains of multiply-adds, eight numbers each: more than two units of four cycles can hold."""
    a, b = splat(_FACTOR), splat(_ADDED)
    p = q = r = s = t = u = v = w = x = y = z = o = splat(1.0)
    q, r, s, t, u, v = q + a, r + b, s * a, t + a + a, u + b + b, v * a * a
    w, x, y, z, o = w + a * a, x + a + b, y + b * a, z * b, o - a
    for _ in range(turns):
        p, q, r, s = p * a + b, q * a + b, r * a + b, s * a + b
        t, u, v, w = t * a + b, u * a + b, v * a + b, w * a + b
        x, y, z, o = x * a + b, y * a + b, z * a + b, o * a + b
    return total(p + q + r + s + t + u + v + w + x + y + z + o)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _scalar_kernel(turns):  # type: ignore[no-untyped-def]
    """Do the same with one number in each chain."""
    a, b = _FACTOR, _ADDED
    p, q, r, s, t, u = 1.0, 1.0 + a, 1.0 + b, a, 1.0 + a + a, 1.0 + b + b
    v, w, x, y, z, o = a * a, 1.0 + a * a, 1.0 + a + b, 1.0 + a * b, b, 1.0 - a
    for _ in range(turns):
        p, q, r, s = p * a + b, q * a + b, r * a + b, s * a + b
        t, u, v, w = t * a + b, u * a + b, v * a + b, w * a + b
        x, y, z, o = x * a + b, y * a + b, z * a + b, o * a + b
    return p + q + r + s + t + u + v + w + x + y + z + o


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _chain_kernel(turns):  # type: ignore[no-untyped-def]
    """One chain: each multiply-add waits for the one before."""
    x = 1.0
    for _ in range(turns):
        x = x * _FACTOR + _ADDED
    return x


@njit(cache=True, nogil=True, error_model="numpy")
def _division_kernel(turns):  # type: ignore[no-untyped-def]
    a = splat(1.7)
    w, x, y, z = splat(1.1), splat(1.2), splat(1.3), splat(1.4)
    for _ in range(turns):
        w, x, y, z = a / w, a / x, a / y, a / z
    return total(w + x + y + z)


@njit(cache=True, nogil=True, error_model="numpy")
def _root_kernel(turns):  # type: ignore[no-untyped-def]
    a = splat(1.7)
    w, x, y, z = splat(1.1), splat(1.2), splat(1.3), splat(1.4)
    for _ in range(turns):
        w, x, y, z = square_root(w + a), square_root(x + a), square_root(y + a), square_root(z + a)
    return total(w + x + y + z)


@njit(cache=True, nogil=True, error_model="numpy")
def _read_kernel(turns, a, b, c):  # type: ignore[no-untyped-def]
    p = q = r = s = splat(0.0)
    for _ in range(turns):
        for i in range(0, a.shape[0], _UNROLLED):
            p, q = p + load(a, i), q + load(a, i + WIDTH)
            r, s = r + load(a, i + 2 * WIDTH), s + load(a, i + 3 * WIDTH)
    return total(p + q + r + s)


@njit(cache=True, nogil=True, error_model="numpy")
def _copy_kernel(turns, a, b, c):  # type: ignore[no-untyped-def]
    for _ in range(turns):
        for i in range(0, a.shape[0], _UNROLLED):
            store(b, i, load(a, i))
            store(b, i + WIDTH, load(a, i + WIDTH))
            store(b, i + 2 * WIDTH, load(a, i + 2 * WIDTH))
            store(b, i + 3 * WIDTH, load(a, i + 3 * WIDTH))


@njit(cache=True, nogil=True, error_model="numpy")
def _triad_kernel(turns, a, b, c):  # type: ignore[no-untyped-def]
    s = splat(0.5)
    for _ in range(turns):
        for i in range(0, a.shape[0], _UNROLLED):
            store(c, i, load(a, i) + s * load(b, i))
            store(c, i + WIDTH, load(a, i + WIDTH) + s * load(b, i + WIDTH))
            store(c, i + 2 * WIDTH, load(a, i + 2 * WIDTH) + s * load(b, i + 2 * WIDTH))
            store(c, i + 3 * WIDTH, load(a, i + 3 * WIDTH) + s * load(b, i + 3 * WIDTH))


class Probe(NamedTuple):
    """What to time, and how much of its unit (operations, bytes, links of a chain) one turn of it does."""

    repeated: Repeated
    amount: float


#: Name -> kernel and what one turn of it does. A multiply-add is two operations, a division or a root one.
_ARITHMETIC = {
    "vector": (_vector_kernel, 12 * WIDTH * 2),
    "scalar": (_scalar_kernel, 12 * 2),
    "chain": (_chain_kernel, 1),
    "division": (_division_kernel, 4 * WIDTH),
    "root": (_root_kernel, 4 * WIDTH),
}

#: Name -> kernel and how many arrays it touches.
STREAMS = {"read": (_read_kernel, 1), "copy": (_copy_kernel, 2), "triad": (_triad_kernel, 3)}


def arithmetic_probes() -> dict[str, Probe]:
    """Return the probes of arithmetic: operations, and for "chain" links, per turn."""

    def probe(kernel, amount):  # type: ignore[no-untyped-def]
        return Probe(lambda turns: kernel(turns * _TURNS), amount * _TURNS)

    return {name: probe(kernel, amount) for name, (kernel, amount) in _ARITHMETIC.items()}


def bandwidth_probes(size: int, offset: int = 0) -> dict[str, Probe]:
    """Return the probes of memory: bytes per turn, where all arrays together take ``size`` bytes.

    ``offset`` (bytes, a multiple of 8) moves the arrays away from the beginning of a cache line.
    """

    def probe(kernel, n_arrays):  # type: ignore[no-untyped-def]
        n = max(size // (8 * n_arrays * _UNROLLED), 1) * _UNROLLED
        arrays = [_on_a_line(n, offset) for _ in range(n_arrays)]
        arrays += arrays[:1] * (3 - n_arrays)
        return Probe(lambda turns: kernel(turns, *arrays), 8.0 * n * n_arrays)

    return {name: probe(kernel, n_arrays) for name, (kernel, n_arrays) in STREAMS.items()}


def _on_a_line(n: int, offset: int) -> Array:
    room = np.zeros(n + 2 * LINE // 8)
    first = (-room.ctypes.data % LINE + offset) // 8
    return room[first : first + n]
