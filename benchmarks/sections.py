"""The tables of the page, each with its sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bayesflex.simd import WIDTH
from benchmarks.record import machine_of
from benchmarks.scale import COLUMNS, MODELS, exponent
from benchmarks.tables import duration, effective_draws, quantity, table
from benchmarks.threads import WAYS, cells

Record = dict[str, Any]


def machine_lines(record: Record) -> list[str]:
    """Return what the machine is and what it does."""
    machine = machine_of(record)
    caches = ", ".join(f"{_binary(level.size)} {level.name}" for level in machine.levels if level.size)
    known = "" if machine.caches_known else " (sizes of caches as usual: it does not tell its own)"
    rows = [
        (level.name, *(f"{1e-9 * level.bandwidth[kind]:,.0f}" for kind in ("read", "copy", "triad")))
        for level in machine.levels
    ]
    rows.append(
        (
            f"{machine.levels[0].name}, arrays off the lines",
            *(f"{1e-9 * machine.unaligned[kind]:,.0f}" for kind in ("read", "copy", "triad")),
        )
    )
    return [
        f"{machine.cpu}, {machine.cores} cores, {caches}{known}. Others share it, so that times of two runs differ "
        "more than ratios within one.",
        "",
        *table(("one thread, GB/s", "read", "copy", "a + s b"), rows),
        "",
        "NumPy's arrays begin at multiples of 16 bytes, so that most vectors of eight lie across two cache lines: the "
        "last row is what is left of the first one then.",
        "",
        *table(
            ("arithmetic, numbers of 64 bits, one thread", "per second"),
            [
                ("multiply-adds, eight at a time, independent", quantity(machine.vector, "flop/s")),
                ("multiply-adds, one at a time, independent", quantity(machine.scalar, "flop/s")),
                ("divisions, eight at a time", quantity(machine.division, "")),
                ("square roots, eight at a time", quantity(machine.root, "")),
                ("multiply-adds, each waiting for the one before", quantity(1.0 / machine.latency, "")),
            ],
        ),
    ]


def kernel_lines(case: Record) -> list[str]:
    """Return the table of a case's kernels."""
    rows = []
    for row in case["kernels"]:
        rows.append(
            (
                row["kernel"],
                duration(row["seconds"]),
                quantity(row["bytes"], "B"),
                row["bound"]["level"],
                quantity(row["operations"], ""),
                f"{1e-9 * row['operations'] / row['seconds']:,.1f}",
                duration(row["roof"]),
                _percent(row["of_roof"]),
                f"{row['limited_by']}: {_percent(row['of_limit'])}",
            )
        )
    heading = (
        "kernel",
        "time",
        "bytes",
        "from",
        "operations",
        "Gflop/s",
        "roof",
        "of the roof",
        "of the nearest limit",
    )
    whole = next(row for row in case["kernels"] if row["kernel"] == "posterior gradient")
    parts = case["kernels"][: case["kernels"].index(whole)]
    alone = sum(row["seconds"] for row in parts)
    return [
        f"Model: {case['model']}. {case['n_contacts']:,} contacts, {case['pairs']:,} pairs of beads within reach of "
        "each other.",
        "",
        *table(heading, rows),
        "",
        f"The first {len(parts)} are what a posterior's gradient is made of: {duration(alone)} in all, each measured "
        f"alone, with the caches to itself. A step of a trajectory, with the mass velocity, takes "
        f"{duration(case['trajectory']['step'])}.",
    ]


def pair_lines(cases: Iterable[Record]) -> list[str]:
    """Return useful pairs beside executed lanes."""
    rows = []
    for case in cases:
        row = next(row for row in case["kernels"] if row["kernel"] == "pair sum")
        lanes = WIDTH * case["rows"]
        rows.append(
            (
                case["name"],
                f"{case['pairs']:,}",
                f"{lanes:,}",
                _percent(case["pairs"] / lanes),
                f"{1e-9 * row['operations'] / row['seconds']:,.1f}",
                f"{1e-9 * row['executed'] / row['seconds']:,.1f}",
                _percent(row["bound"]["operations"] * row["executed"] / row["operations"] / row["seconds"]),
            )
        )
    heading = ("", "pairs", "lanes", "of use", "Gflop/s of use", "Gflop/s executed", "of the peak executed")
    return [
        "The pair sum takes a bead and a tile of eight at a time. Some lanes hold pairs that are too far apart: beads "
        "in the skin of the list, and in corners of boxes. Its roof is that of the pairs that count; lanes are what is "
        "executed.",
        "",
        *table(heading, rows),
    ]


def twin_lines(cases: Iterable[Record]) -> list[str]:
    """Return the likelihood with its gradient against the plain twin."""
    rows = []
    for case in cases:
        times = case["likelihood"]
        cells = [
            f"{duration(times[name])}, {times['plain twin'] / times[name]:,.0f} ×" for name in ("white", "low-pass")
        ]
        rows.append((case["name"], duration(times["plain twin"]), *cells))
    return [
        "Log likelihood and gradient, called from Python, in turns with its plain twin: the same beads rendered, "
        "compared and differentiated in NumPy, a bead at a time with separable windows.",
        "",
        *table(("", "plain NumPy", "noise white", "noise up to the resolution"), rows),
    ]


def box_lines(boxes: Record) -> list[str]:
    """Return one model in two boxes."""
    (small, first), (large, second) = boxes["seconds"].items()
    return [
        f"{boxes['case']}, whole posterior's gradient: {duration(first)} in a box of {small} voxels, "
        f"{duration(second)} in one of {large}, {_signed(second / first - 1.0)}. No voxel is touched in a step.",
    ]


def step_lines(cases: Iterable[Record]) -> list[str]:
    """Return what a step costs compiled and in Python, and how often lists are rebuilt."""
    rows, lists = [], []
    for case in cases:
        times, rebuilt = case["trajectory"], case["rebuilt"]
        kernels = {row["kernel"]: row["seconds"] for row in case["kernels"]}
        rows.append(
            (
                case["name"],
                duration(times["step"]),
                duration(times["call"]),
                duration(times["loop"]),
                duration(times["compiled"] - times["step"]),
                duration(max(times["loop"] - times["step"], 0.0)),
            )
        )
        steps = rebuilt["steps"]
        per_step = (
            rebuilt["tiles"] * kernels["list of tiles"] + rebuilt["close pairs"] * kernels["list of close pairs"]
        ) / steps
        lists.append((case["name"], f"{rebuilt['tiles']}", f"{rebuilt['close pairs']}", f"{steps}", duration(per_step)))
    heading = (
        "",
        "step, compiled",
        "call of a trajectory",
        "step, loop in Python",
        "interpreter per step, compiled",
        "interpreter per step, loop",
    )
    return [
        "A trajectory of 20 steps is one call of compiled code; whatever the compiled code does not know takes the "
        "loop in Python, one call per step. What the interpreter adds per step is the difference from a step alone.",
        "",
        *table(heading, rows),
        "",
        "Lists of neighbours are rebuilt when a bead has moved by half the skin, here in trajectories at a fit's step "
        "size, after heating up. What that adds per step is the times in the tables above, spread over the steps.",
        "",
        *table(("", "lists of tiles", "lists of close pairs", "in steps", "per step"), lists),
    ]


def start_lines(record: Record) -> list[str]:
    """Return what a user waits for before anything is computed."""
    rows = [(f"`{name}`", duration(t["clock"]), duration(t["processor"])) for name, t in record["starts"].items()]
    lines = [*table(("medians of 5 processes", "on the clock", "processor time"), rows), ""]
    if "first_run" not in record:
        return [*lines, "What a first run compiles was not measured (`python -m benchmarks --compilation`)."]
    first, second = record["first_run"]["first"], record["first_run"]["second"]
    return [
        *lines,
        "`bayesflex demo`, medians of three pairs, with no compiled kernels in the cache: "
        f"{duration(first['clock'])} on the clock ({duration(first['processor'])} of processor time); with those that "
        f"the first run left: {duration(second['clock'])} ({duration(second['processor'])}). Compiling takes the "
        f"difference, {duration(first['clock'] - second['clock'])} on the clock, and says so. It is "
        f"{duration(first['processor'] - second['processor'])} of processor time, of which a process beside takes its "
        "share: it compiles what is needed later. Python's collector of cyclic garbage waits meanwhile: with it, "
        "compiling took 3 s more, and the highest memory was 3 % less.",
    ]


def thread_lines(record: Record) -> list[str]:
    """Return what two threads make of two chains and of one, as ``benchmarks.threads`` measured it."""
    seconds = record["seconds"]
    rows = [(name, *(cell for times in seconds.values() for cell in cells(times, name))) for name in WAYS]
    heading = ("", *(text for case in seconds for text in (f"{case}, s", "faster")))
    return [
        "Measured by `python -m benchmarks.threads`: whole chains, on the clock, medians. The two chains are the same "
        "ones in each way, and one is longer, so that no way is twice as fast. Two processes share no interpreter: "
        "where two threads take as long, they do not wait for each other. The load of the machine before "
        f"was {record['load']:.1f} on {record['cores']} cores; with others at work neither gets two cores.",
        "",
        *table(heading, rows),
    ]


def size_lines(sizes: Record) -> list[str]:
    """Return time and memory against the size of the model, as ``benchmarks.scale`` measured them."""
    lines = [
        "Measured by `python -m benchmarks.scale`, each size in a process of its own. Exponents are slopes in log-log "
        "from 10,000 CA on: 1 is a cost in proportion to the size."
    ]
    heading = ["CA", *(" ".join(text.split()) for text, _, _ in COLUMNS.values())]
    for model in MODELS:
        if model not in sizes:
            continue
        points = sizes[model]["points"]
        rows: list[Sequence[str]] = []
        for point in points:
            cells = [f"{factor * point[key]:,.{n}f}" if key in point else "" for key, (_, factor, n) in COLUMNS.items()]
            rows.append((f"{int(point['n_ca']):,}", *cells))
        slopes = [exponent(points, key) for key in COLUMNS]
        rows.append(("exponent", *("" if slope is None else f"{slope:.2f}" for slope in slopes)))
        lines += ["", f"Model: {model}.", "", *table(heading, rows)]
    return lines


def ess_lines(record: Record) -> list[str]:
    """Return effective draws per second of each sampler, as ``benchmarks.ess`` measured them."""
    first = record["cases"][0]
    lines = [
        "Measured by `python -m benchmarks.ess`: bulk effective draws per second of processor time, one thread, of "
        "mode amplitudes and of the coordinates of 64 CA, worst and median. The posterior is that of a model in a map "
        f"of its own. Every sampler starts {first['n_chains']} chains from the same draws, finds its own step size for "
        "one target of the acceptance, is frozen, and makes trajectories of 20 gradients on average; chains take "
        "turns. *Fit*: matched masses, two stages. *Modes fast*: unit masses of local displacements with the modes' "
        "matched ones, which `compare` has. *Unit masses*: one on all unknowns.",
        "",
        "Where R-hat is far from 1 a chain has not crossed the density, and its effective draws are no estimate. *At "
        "most* is a bound that needs no crossing: these chains are reversible, so that how little they move from draw "
        "to draw limits what they can be worth (`benchmarks/ess.py` derives it; the variance is that of the fit's "
        "draws).",
    ]
    heading = ["sampler", "step", "acceptance", "gradients/s", "amplitudes/s", "at most", "coordinates/s", "at most"]
    heading += ["worst R-hat of amplitudes"]
    for case in record["cases"]:
        rows = [(*effective_draws(row), f"{row['amplitudes']['worst_r_hat']:.2f}") for row in case["samplers"]]
        title = f"{case['name']}: {case['n_ca']:,} CA ({case['model']}), {case['resolution']:.3g} Å, "
        lines += ["", f"### {title}{case['n_draws']} draws of each chain", "", *table(heading, rows)]
    lines += [
        "",
        "How many times as many effective draws a fit makes as the other sampler at most, quantity by quantity:",
    ]
    gains = [
        (
            case["name"],
            name,
            *(f"{gain[kind]['median']:.3g}" for kind in ("amplitudes", "coordinates")),
            f"{gain['amplitudes']['worst']:.3g}",
        )
        for case in record["cases"]
        for name, gain in case["at_least_times"].items()
    ]
    titles = ("", "against", "amplitudes, median", "coordinates, median", "amplitudes, worst")
    return [*lines, "", *table(titles, gains)]


def _percent(fraction: float) -> str:
    return f"{100.0 * fraction:.0f} %" if fraction >= 0.0095 else f"{100.0 * fraction:.1f} %"


def _binary(size: float) -> str:
    return f"{size / (1 << 20):g} MiB" if size >= 1 << 20 else f"{size / (1 << 10):g} KiB"


def _signed(fraction: float) -> str:
    return f"{100.0 * abs(fraction):.1f} % {'more' if fraction >= 0.0 else 'less'}"
