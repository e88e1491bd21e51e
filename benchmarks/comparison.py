"""What was asked for, and what other programs take: numbers of a run beside numbers that are given."""

from __future__ import annotations

from typing import Any

from benchmarks.cases import AK, P97
from benchmarks.tables import duration, table

Record = dict[str, Any]

#: Targets: times faster than the plain twin; seconds of a posterior's gradient; spread between two boxes; seconds that
#: the interpreter adds to a step; starts, s; first compilation, s; exponent, s and bytes of a million CA.
_TWIN, _BOXES, _INTERPRETER, _COMPILATION = 300.0, 0.10, 1e-4, 20.0
_GRADIENTS = {AK.name: 0.08e-3, P97.name: 1.2e-3}
_STARTS = {"bayesflex --help": 0.5, "import bayesflex": 1.0}
_EXPONENT, _MILLION, _SECONDS, _BYTES = 1.10, 0.9e6, 1.0, 8e9

#: Work, program and milliseconds per step, or text, of other programs: each measured on one thread of a machine of the
#: same kind, in other runs than the one that the page is made from.
_OTHERS = (
    (AK.name, "the paper authors' program (Python)", "19–25 ms"),
    (AK.name, "NMMD in GENESIS (Fortran; Go model)", "0.90 ms, of which density 0.63–0.83 ms"),
    (AK.name, "GROMACS, density-guided, density part alone (C++)", "6.4 ms"),
    (P97.name, "the paper authors' program (Python)", "255 ms: density 125, gradient 125, prior 5"),
    (P97.name, "NMMD in GENESIS (Fortran; Go model)", "14.2 ms, of which density 10.6 ms"),
    (P97.name, "GROMACS, density-guided, density part alone (C++)", "47.6 ms"),
)
_PRODY = "16.8 s + 3.0 s (Hessian and 20 modes, 15 Å)"


def target_lines(record: Record, sizes: Record | None) -> list[str]:
    """Return what was asked for and what was measured, as far as it was."""
    rows = []

    def row(what: str, asked: str, measured: str, holds: bool) -> None:
        rows.append((what, asked, measured, "yes" if holds else "**no**"))

    for case in record["cases"]:
        name, times = case["name"], case["likelihood"]
        if name == P97.name:
            for noise in ("white", "low-pass"):
                ratio = times["plain twin"] / times[noise]
                what = f"{name}: likelihood with gradient, {noise} noise, against plain NumPy"
                row(what, f"at least {_TWIN:.0f} ×", f"{ratio:.0f} ×", ratio >= _TWIN)
        if name in _GRADIENTS:
            seconds = next(k["seconds"] for k in case["kernels"] if k["kernel"] == "posterior gradient")
            near = _GRADIENTS[name]
            what = f"{name}: gradient of the whole posterior, called from Python"
            row(what, f"near {duration(near)}, up to 15 % more", duration(seconds), seconds <= 1.15 * near)
        if name == AK.name:
            added = case["trajectory"]["compiled"] - case["trajectory"]["step"]
            what = f"{name}: interpreter per step of a trajectory"
            row(what, f"below {duration(_INTERPRETER)}", duration(added), added < _INTERPRETER)
    if "boxes" in record:
        first, second = record["boxes"]["seconds"].values()
        names = " and ".join(record["boxes"]["seconds"])
        apart = abs(second / first - 1.0)
        what = f"{record['boxes']['case']}: gradient in boxes of {names} voxels"
        row(what, f"within {100 * _BOXES:.0f} %", f"{100 * apart:.1f} % apart", apart <= _BOXES)
    for model in ("assembly", "rings") if sizes is not None else ():
        if sizes is None or model not in sizes:
            continue
        slope = sizes[model]["exponents"]["gradient"]
        if slope is not None:
            what = f"gradient against number of CA, {model}"
            row(what, f"exponent at most {_EXPONENT:.2f}", f"{slope:.2f}", slope <= _EXPONENT)
        for point in sizes[model]["points"]:
            if point["n_ca"] >= _MILLION:
                fits = point["gradient"] <= _SECONDS and point["peak"] <= _BYTES
                measured = f"{duration(point['gradient'])}, {1e-9 * point['peak']:.1f} GB"
                row(f"{int(point['n_ca']):,} CA, {model}: gradient, memory", "1 s, 8 GB", measured, fits)
    for name, limit in _STARTS.items() if "starts" in record else ():
        taken = record["starts"][name]["clock"]
        row(f"`{name}`", f"below {duration(limit)}", duration(taken), taken < limit)
    if "first_run" in record:
        taken = record["first_run"]["first"]["clock"] - record["first_run"]["second"]["clock"]
        row("compiling, first run", f"below {duration(_COMPILATION)}", duration(taken), taken < _COMPILATION)
    return table(("what", "aim", "measured", "holds"), rows)


def comparison_lines(record: Record) -> list[str]:
    """Return other programs' times beside this run's."""
    rows = []
    cases = {case["name"]: case for case in record["cases"]}
    for name, program, figure in _OTHERS:
        if name in cases:
            rows.append((_work(cases[name]), program, figure))
    for name, case in cases.items():
        if name in (AK.name, P97.name):
            step, density = case["trajectory"]["compiled"], case["likelihood"]["low-pass"]
            figures = f"{duration(step)}; density part alone, from Python, {duration(density)}"
            rows.append((_work(case), "**bayesflex, this run**", figures))
    if "modes" in record:
        work = f"{record['modes']['case']}: Hessian of the network and 20 modes, once"
        rows.append((work, "ProDy", _PRODY))
        times = record["modes"]["seconds"]
        own = ", ".join(f"{duration(seconds)} ({cutoff})" for cutoff, seconds in times.items())
        rows.append((work, "**bayesflex, this run**", own))
    return [
        "The figures of the other programs were measured in other runs, on a machine of the same kind (two shared "
        "cores, one thread, processor time), and bear less weight than the ratios above; nor is what each computes in "
        "a step the same. A step is density, its gradient and a prior, unless said otherwise.",
        "",
        *table(("work", "program", "time"), rows),
    ]


def _work(case: Record) -> str:
    return f"{case['name']}, {case['n_voxels']}³ × {case['voxel']:g} Å: a step"
