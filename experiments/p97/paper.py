"""Write ``docs/paper.md`` from the results: ``python -m experiments.p97.paper results docs``.

No number on that page is typed: each comes from the files that ``python -m experiments.p97`` wrote, and each verdict
from a rule stated in this module.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesflex.errors import InputError
from bayesflex.workflows.comparison_results import FLOOR, NUMBERS_FILE, TABLE_FILE
from bayesflex.workflows.run_files import write_text
from bayesflex.workflows.samplers import NUMBERS_FILE as SAMPLERS_FILE

Array = NDArray[np.float64]

FIGURES = "figures/paper"
APPROACHES = ("local", "global", "combined")
CC, RMSD = "cc_uncentred", "rmsd_to_reference"

#: The search for amplitudes counts as negligible below this share of the time.
_NEGLIGIBLE = 0.05

#: The N domains have gone up where less than this share of their distance to the answer is left.
_UP = 0.5

#: An approach has come near a correlation at this share of it.
_NEARLY = 0.99

#: An approach whose correlation rises by less than this share of the largest rise has stayed where it was.
_STUCK = 0.1

#: Targets at this iteration: combined this near its floor in RMSD (Å) and in correlation.
_TARGET_ITERATION, _NEAR_RMSD, _NEAR_CC = 30, 0.3, 0.005

#: R-hat below which chains agree (Vehtari et al. 2021).
_AGREE = 1.01

_WHY_NOT_UP = (
    "Between 5FTM and 5FTN each N domain turns by about 100°. Modes are straight lines: one of the four (the lifting "
    "mode) points along the way, and beyond some 30° a straight line is no rotation any more; in a sharp map the rest "
    "of the way has no slope. This is why `bayesflex fit` recomputes the modes on the way and begins in blurred maps."
)


@dataclass(frozen=True, eq=False)
class Test:
    """Results of one test: numbers, mean curves by approach and quantity, and what was fitted."""

    title: str
    folder: Path
    numbers: Mapping[str, Any]
    curves: Mapping[str, Mapping[str, Array]]
    facts: Mapping[str, Any]

    def final(self, approach: str, quantity: str = CC) -> tuple[float, float]:
        """Return mean and spread over the runs of a final value."""
        found = self.numbers["approaches"][approach]["final"][quantity]
        return float(found["mean"]), float(found["sd"])

    def within(self, approach: str) -> int:
        """Return the iteration from which the correlation stays within 1 % of its final value."""
        return int(self.numbers["approaches"][approach]["iteration_within_1_percent"][CC])

    def passes(self, approach: str, value: float) -> int | None:
        """Return the first iteration at which an approach's mean correlation exceeds a value, or None."""
        above = np.flatnonzero(self.curves[approach][CC] > value)
        return int(above[0]) if len(above) else None

    def distance(self, approach: str, domain: str) -> float:
        """Return the RMSD (Å) of the averaged structure, or of the start, to the answer."""
        found = self.numbers["start"][RMSD] if approach == "start" else self._average(approach)
        return float(found[domain])

    def _average(self, approach: str) -> Mapping[str, float]:
        return self.numbers["approaches"][approach]["rmsd_of_average"]


@dataclass(frozen=True)
class Claim:
    """A row of the table: what the paper says, what was measured, whether it holds, and why not."""

    text: str
    measured: str
    holds: bool
    cause: str = ""

    @property
    def row(self) -> str:
        """The row."""
        verdict = "holds" if self.holds else f"**does not hold as stated.** {self.cause}".strip()
        return f"| {self.text} | {self.measured} | {verdict} |"


def load_test(title: str, folder: Path) -> Test:
    """Read the results of one test.

    Raises
    ------
    InputError
        If a file is missing: the test has not been run to its end.
    """
    numbers = _read_json(folder / "results" / NUMBERS_FILE)
    path = folder / "results" / TABLE_FILE
    gathered: dict[str, dict[str, dict[int, list[float]]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for quantity in (CC, RMSD):
                by_iteration = gathered.setdefault(row["approach"], {}).setdefault(quantity, {})
                by_iteration.setdefault(int(row["iteration"]), []).append(float(row[quantity]))
    curves = {
        approach: {
            quantity: np.array([np.mean(values[iteration]) for iteration in sorted(values)])
            for quantity, values in quantities.items()
        }
        for approach, quantities in gathered.items()
    }
    return Test(title, folder, numbers, curves, _read_json(folder / "facts.json"))


def claims_of(tests: Sequence[Test]) -> list[Claim]:
    """Return the paper's claims, measured."""
    claims = [Claim("The results are averages over 10 runs of 100 iterations.", *_setting(tests))]
    for test in tests:
        claims += [_faster(test), _highest(test), _upwards(test)]
    claims.append(_order(tests[1]))
    shares = [float(test.numbers["amplitudes"]["share_of_time"]) for test in tests]
    claims.append(
        Claim(
            "The search for amplitudes takes negligible time beside the local parameters.",
            f"{100 * max(shares):.1f} % of the time of a gradient of combined "
            f"({tests[0].numbers['amplitudes']['milliseconds_per_gradient']:.2f} ms); the modes themselves, once, "
            f"{tests[0].numbers['seconds_modes']:.1f} s",
            max(shares) < _NEGLIGIBLE,
            f"It is more than {100 * _NEGLIGIBLE:.0f} % here.",
        )
    )
    return claims


def _setting(tests: Sequence[Test]) -> tuple[str, bool]:
    found = {(test.numbers["runs"], test.numbers["iterations"]) for test in tests}
    text = "; ".join(f"{runs} runs of {iterations} iterations" for runs, iterations in sorted(found))
    adapting = tests[0].numbers["iterations_adapting"]
    return f"{text}, the first {adapting} of them labelled `adapting`", found == {(10, 100)}


def _faster(test: Test) -> Claim:
    within = {name: test.within(name) for name in APPROACHES}
    rises = {name: float(test.curves[name][CC][-1] - test.curves[name][CC][0]) for name in APPROACHES}
    causes = [
        f"{name.capitalize()} hardly leaves the start (its CC rises by {rises[name]:.4f}, against "
        f"{max(rises.values()):.4f}): it is not fast but stuck."
        for name in ("global", "combined")
        if rises[name] < _STUCK * max(rises.values())
    ]
    causes += [
        f"{name.capitalize()} is not sooner than local."
        for name in ("global", "combined")
        if within[name] >= within["local"]
    ]
    return Claim(
        f"{test.title}: the two approaches with normal modes converge faster than local.",
        "within 1 % of its final CC for good from iteration "
        + ", ".join(f"{within[name]} ({name})" for name in APPROACHES),
        not causes,
        " ".join(causes),
    )


def _highest(test: Test) -> Claim:
    mean, spread = test.final("combined")
    measured, causes = [f"final CC {mean:.4f} ± {spread:.4f} (combined)"], []
    for name in ("local", "global"):
        other, other_spread = test.final(name)
        reached, own = test.passes("combined", _NEARLY * other), test.passes(name, _NEARLY * other)
        when = (
            "never reaches that" if reached is None else f"reaches {100 * _NEARLY:.0f} % of that at iteration {reached}"
        )
        measured.append(f"{other:.4f} ± {other_spread:.4f} ({name}, itself nearly there at {own}; combined {when})")
        if mean - other <= spread + other_spread:
            causes.append(
                f"The difference from {name}, {mean - other:+.4f}, is within the spread of the runs: where the modes "
                "do not describe the motion, combined is left with local displacements."
            )
        if reached is None or own is None or reached > own:
            causes.append(f"Combined is not the sooner of the two to come near the final CC of {name}.")
    text = f"{test.title}: combined reaches the highest CC in the fewest iterations."
    return Claim(text, "; ".join(measured), not causes, " ".join(causes))


def _upwards(test: Test) -> Claim:
    before, after = test.distance("start", "N"), test.distance("combined", "N")
    return Claim(
        f"{test.title}: the N domains go from down to up.",
        f"RMSD of the N domains to the answer {before:.1f} → {after:.1f} Å (combined, averaged over the runs)",
        after < _UP * before,
        _WHY_NOT_UP,
    )


def _order(test: Test) -> Claim:
    values = {name: test.final(name)[0] for name in APPROACHES}
    return Claim(
        f"{test.title}: local reaches a slightly lower CC than combined; both are above global.",
        ", ".join(f"{values[name]:.4f} ({name})" for name in ("combined", "local", "global")),
        values["combined"] >= values["local"] > values["global"],
        "The order is another one.",
    )


def targets_of(test: Test) -> list[str]:
    """Return how near combined comes to its floor, and by how much it leads, as lines of the page."""
    index = min(_TARGET_ITERATION, len(test.curves["combined"][CC]) - 1)
    gap_rmsd = test.curves["combined"][RMSD][index] - test.curves[FLOOR][RMSD][-1]
    gap_cc = test.curves[FLOOR][CC][-1] - test.curves["combined"][CC][index]
    lines = [
        f"- At iteration {index} combined is {gap_rmsd:.2f} Å RMSD above its floor (the same posterior started at the "
        f"answer, which ends at {test.final(FLOOR, RMSD)[0]:.2f} Å) and {gap_cc:.4f} below the floor's CC of "
        f"{test.final(FLOOR)[0]:.4f}. "
        + ("Both are" if gap_rmsd <= _NEAR_RMSD and gap_cc <= _NEAR_CC else "**Not both are**")
        + f" within {_NEAR_RMSD:g} Å and {_NEAR_CC:g}."
    ]
    for name in ("local", "global"):
        lead_cc = test.final("combined")[0] - test.final(name)[0]
        lead_rmsd = test.final(name, RMSD)[0] - test.final("combined", RMSD)[0]
        spread_cc = max(test.final("combined")[1], test.final(name)[1])
        spread_rmsd = max(test.final("combined", RMSD)[1], test.final(name, RMSD)[1])
        lines.append(
            f"- It ends above {name} by {lead_cc:.4f} in CC (larger spread of the runs {spread_cc:.4f}) and nearer "
            f"to the answer by {lead_rmsd:.2f} Å (larger spread {spread_rmsd:.2f} Å)."
        )
    return lines


def page(results: Path) -> str:
    """Return the text of ``docs/paper.md``.

    Raises
    ------
    InputError
        If a part has not been run to its end.
    """
    tests = [load_test("Test 1", results / "test1"), load_test("Test 2", results / "test2")]
    if tests[1].facts["stand_in"]:
        tests[1] = Test(
            "Test 2 (stand-in)", *(getattr(tests[1], name) for name in ("folder", "numbers", "curves", "facts"))
        )
    lines = [
        "# The paper's experiments, redone",
        "",
        "Made by `python -m experiments.p97.paper` from the results of `python -m experiments.p97`; not typed. How to "
        "run both is said in `experiments/p97/README.md`.",
        "",
        "CC is `cc_uncentred`, eq. 8 read as Σ ρ_sim ρ / (|ρ_sim| |ρ|), over the region that counts. RMSD is over CA "
        "atoms, in place. ± is the standard deviation over the runs.",
        "",
        "## Claims",
        "",
        "| claim of the paper | measured | verdict |",
        "| --- | --- | --- |",
        *(claim.row for claim in claims_of(tests)),
        "",
    ]
    for test in tests:
        lines += _test_lines(test)
    lines += _long_lines(tests[0], load_test("local", results / "local-long"))
    lines += _sampler_lines(_read_json(results / "samplers" / SAMPLERS_FILE))
    return "\n".join(lines)


def _test_lines(test: Test) -> list[str]:
    numbers = test.numbers
    short = _short(test)
    lines = [f"## {test.title}", ""]
    lines += [f"- {test.facts[name]}" for name in ("lifting_mode", "displacement", "map") if name in test.facts]
    lines += [
        f"- Beads: unit Gaussians on {numbers['n_ca']} CA, σ {numbers['sigma']:.2f} Å; likelihood `gaussian`, σ_ρ "
        f"{numbers['noise_sd']:g} of a bead's peak; modes {', '.join(map(str, numbers['modes']))}; "
        f"{numbers['leapfrog_steps']} leapfrog steps per iteration; seed {numbers['seed']}.",
        "",
        f"![CC against iteration]({FIGURES}/{short}-cc.png)",
        "",
        f"![RMSD to the answer against iteration]({FIGURES}/{short}-rmsd.png)",
        "",
        f"![Initial and fitted structures in the map]({FIGURES}/{short}-structures.png)",
        "",
        f"![Mode amplitudes against iteration]({FIGURES}/{short}-amplitudes.png)",
        "",
        "| approach | final CC | final centred CC | final RMSD, Å | within 1 % of final CC from | largest R-hat | "
        "time, s | processor time, s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in numbers["approaches"].items():
        cells = [name]
        cells += [f"{test.final(name, key)[0]:.4f} ± {test.final(name, key)[1]:.4f}" for key in (CC, "cc_centred")]
        cells.append("{:.2f} ± {:.2f}".format(*test.final(name, RMSD)))
        cells += [f"iteration {test.within(name)}", _shown(found["r_hat_max"])]
        cells += [f"{found['seconds']:.0f}", f"{found['cpu_seconds']:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    worst = [found["r_hat_max"] for found in numbers["approaches"].values()]
    agree = all(value is not None and value < _AGREE for value in worst)
    whole = [sum(numbers["approaches"][name][key] for name in APPROACHES) for key in ("seconds", "cpu_seconds")]
    lines += [
        "",
        f"The three approaches together: {numbers['runs']} runs of {numbers['iterations']} iterations each in "
        f"{whole[0]:.0f} s ({whole[1]:.0f} s of processor time over all cores).",
        "",
        f"Chains agree where the largest R-hat over all coordinates is below {_AGREE:g}. "
        + (
            "They do."
            if agree
            else f"They do not: {numbers['iterations']} iterations are too few to sample every coordinate."
        ),
        "",
        *targets_of(test),
        "",
        *_domain_lines(test),
    ]
    return lines


def _domain_lines(test: Test) -> list[str]:
    """Return RMSDs by domain, of the structures averaged over the runs."""
    places = ("start", *test.numbers["approaches"])
    domains = list(test.numbers["start"][RMSD])
    lines = [
        "RMSD to the answer of the structures averaged over the runs, Å:",
        "",
        f"| | {' | '.join(domain.replace('_', ' ') for domain in domains)} |",
        f"| --- |{' --- |' * len(domains)}",
    ]
    for place in places:
        lines.append(f"| {place} | {' | '.join(f'{test.distance(place, domain):.2f}' for domain in domains)} |")
    return [*lines, ""]


def _long_lines(short: Test, long: Test) -> list[str]:
    """Return what local fitting reaches with more iterations."""
    mean, rms = long.final("local")[0], long.final("local", RMSD)[0]
    combined, combined_rms = short.final("combined")[0], short.final("combined", RMSD)[0]
    factor = long.numbers["iterations"] / short.numbers["iterations"]
    behind = "still behind" if mean < combined else "level with or above"
    return [
        f"## Local fitting with {factor:g} times the iterations",
        "",
        f"Test 1, {long.numbers['runs']} runs of {long.numbers['iterations']} iterations: CC {mean:.4f} and RMSD "
        f"{rms:.2f} Å, {behind} combined after {short.numbers['iterations']} ({combined:.4f}, {combined_rms:.2f} Å).",
        "",
        f"![Local fitting, ten times longer]({FIGURES}/local-long-rmsd.png)",
        "",
    ]


def _sampler_lines(numbers: Mapping[str, Any]) -> list[str]:
    plan, kernels = numbers["plan"], numbers["kernels"]
    lines = [
        "## Why Hamiltonian Monte Carlo",
        "",
        f"The three samplers of the paper on one posterior: the local displacements of a protein of "
        f"{plan['n_residues']} residues in its own map, {plan['chains']} chains each, {plan['n_gradients']} gradients "
        "(for Metropolis: densities) a chain, from the same warm state with the same masses.",
        "",
        f"![Effective draws per gradient]({FIGURES}/samplers.png)",
        "",
        "| sampler | effective draws per 1000 gradients, worst (median) coordinate | largest R-hat "
        "| mean log density, nats |",
        "| --- | --- | --- | --- |",
    ]
    for name, row in kernels.items():
        per = [1e3 * row[key] / row["n_evaluations"] for key in ("ess_min", "ess_median")]
        lines.append(f"| {name} | {per[0]:.3g} ({per[1]:.3g}) | {row['r_hat_max']:.2f} | {row['log_density']:.1f} |")
    return [
        *lines,
        "",
        "Where R-hat is far above 1 the effective draws are an upper limit. MD accepts everything: it is as quick as "
        "HMC, and draws from a density that is off by the error of its steps, as its mean log density shows.",
        "",
    ]


def write_paper(results: Path, docs: Path) -> Path:
    """Write ``paper.md`` and its figures into a folder of pages; return the page's path.

    Raises
    ------
    InputError
        If a part has not been run to its end, or a file cannot be written.
    """
    text = page(results)
    figures = docs / FIGURES
    figures.mkdir(parents=True, exist_ok=True)
    for part in ("test1", "test2"):
        for name in ("cc", "rmsd", "structures", "amplitudes"):
            shutil.copyfile(results / part / "results" / f"{name}.png", figures / f"{part}-{name}.png")
    shutil.copyfile(results / "local-long" / "results" / "rmsd.png", figures / "local-long-rmsd.png")
    shutil.copyfile(results / "samplers" / "samplers.png", figures / "samplers.png")
    out = docs / "paper.md"
    write_text(out, text)
    return out


def _short(test: Test) -> str:
    return test.folder.name


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); expected the results of python -m experiments.p97, "
            "run to its end"
        ) from None


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m experiments.p97.paper RESULTS DOCS")
    print(f"Wrote {write_paper(Path(sys.argv[1]), Path(sys.argv[2]))}")
