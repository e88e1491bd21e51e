"""The machine: what it says of itself, and what the probes measure on it."""

from __future__ import annotations

import os
import platform
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from benchmarks.probes import STREAMS, arithmetic_probes, bandwidth_probes
from benchmarks.timing import median_seconds

#: Where the caches are not known, bytes.
_USUAL_CACHES = {"L1": 32 << 10, "L2": 1 << 20, "L3": 32 << 20}
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_CPUS = Path("/proc/cpuinfo")

MEMORY = "memory"
#: A probe takes this share of its cache, and memory's is so many times the largest cache.
_SHARE, _BEYOND = 0.5, 4

#: NumPy's arrays begin at a multiple of 16 bytes, in three of four cases not at a cache line's.
_UNALIGNED = 16

_SAMPLE = 0.003  # s


@dataclass(frozen=True)
class Level:
    """A cache or the memory: its size in bytes (None for memory) and its bandwidths, bytes/s, by kind of access."""

    name: str
    size: float | None
    bandwidth: dict[str, float]

    @property
    def fastest(self) -> float:
        """The highest of the bandwidths: a roof must be one."""
        return max(self.bandwidth.values())


@dataclass(frozen=True)
class Machine:
    """What a machine can do on one thread.

    Parameters
    ----------
    cpu, cores, caches_known
        What it says of itself.
    levels
        From the fastest cache to the memory.
    unaligned
        Bandwidths (bytes/s) of the first cache where arrays begin in the middle of a line.
    vector, scalar
        Multiply-adds, eight numbers at a time and one at a time, operations/s.
    division, root
        Per second, eight at a time.
    latency
        Seconds from a multiply-add to one that needs its result.
    """

    cpu: str
    cores: int
    caches_known: bool
    levels: tuple[Level, ...]
    unaligned: dict[str, float]
    vector: float
    scalar: float
    division: float
    root: float
    latency: float

    def level_of(self, footprint: float) -> Level:
        """Return the level in which so many bytes fit."""
        return next(level for level in self.levels if level.size is None or footprint <= level.size)


class MachineProbe:
    """Measures the machine several times in the course of a run; what counts are medians."""

    def __init__(self, repeats: int) -> None:
        self._repeats = repeats
        self._caches, self._known = caches()
        sizes = {name: int(_SHARE * size) for name, size in self._caches.items()}
        sizes[MEMORY] = _BEYOND * max(self._caches.values())
        self._probes = arithmetic_probes()
        for level, size in sizes.items():
            self._probes |= {f"{level} {kind}": probe for kind, probe in bandwidth_probes(size).items()}
        first = next(iter(sizes))
        unaligned = bandwidth_probes(sizes[first], _UNALIGNED)
        self._probes |= {f"unaligned {kind}": probe for kind, probe in unaligned.items()}
        self._rates: dict[str, list[float]] = defaultdict(list)

    def measure(self) -> None:
        """Measure once more."""
        times = median_seconds({name: probe.repeated for name, probe in self._probes.items()}, self._repeats, _SAMPLE)
        for name, seconds in times.items():
            self._rates[name].append(self._probes[name].amount / seconds)

    def result(self) -> Machine:
        """Return the medians of all measurements."""
        rate = {name: statistics.median(rates) for name, rates in self._rates.items()}
        sizes: dict[str, float | None] = {**self._caches, MEMORY: None}
        return Machine(
            cpu=cpu_name(),
            cores=os.cpu_count() or 1,
            caches_known=self._known,
            levels=tuple(
                Level(name, size, {kind: rate[f"{name} {kind}"] for kind in STREAMS}) for name, size in sizes.items()
            ),
            unaligned={kind: rate[f"unaligned {kind}"] for kind in STREAMS},
            vector=rate["vector"],
            scalar=rate["scalar"],
            division=rate["division"],
            root=rate["root"],
            latency=1.0 / rate["chain"],
        )


def caches(folder: Path = _CACHES) -> tuple[dict[str, int], bool]:
    """Return the sizes (bytes) of the caches for data of the first core by level, and whether they are known."""
    sizes = {}
    for index in sorted(folder.glob("index*")):
        kind, level, size = ((index / name).read_text().strip() for name in ("type", "level", "size"))
        if kind != "Instruction":
            sizes[f"L{level}"] = int(size.rstrip("KM")) << {"K": 10, "M": 20}.get(size[-1], 0)
    return (sizes, True) if sizes else (_USUAL_CACHES, False)


def cpu_name(file: Path = _CPUS) -> str:
    """Return what the processor calls itself."""
    if file.is_file():
        for line in file.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
