"""The page itself: data and scripts put into the template."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, StrictUndefined

from bayesflex.plots.style import OKABE_ITO, colour_scale
from bayesflex.report.attention import MOST_LISTED, residues_to_look_at
from bayesflex.report.charts import chart_of_shells, charts_along_model, charts_of_iterations
from bayesflex.report.embedding import asset, script_json, script_policy
from bayesflex.report.run_data import RunData
from bayesflex.report.scene import residue_values, scene
from bayesflex.report.tables import changes, diagnostics, facts, key_numbers, title

#: Scripts in the order in which they run; the last is the page's own.
_SCRIPTS = ("3Dmol-min.js", "uPlot.iife.min.js", "page.js")
_STYLES = ("uPlot.min.css", "page.css")
_LICENCES = (("3Dmol.js", "3Dmol-LICENSE.txt"), ("uPlot", "uPlot-LICENSE.txt"))

#: Colours of a scale that the page interpolates between.
_SCALE_STEPS = 9


def render_page(run: RunData) -> str:
    """Return the page of a run as one HTML text that needs nothing else.

    All that comes from files is escaped: by the template in the markup, by :func:`script_json` in scripts. The same
    data give the same page.
    """
    summary = run.summary or {}
    values = residue_values(run)
    view = scene(run)
    data: dict[str, Any] = {
        "scene": view,
        "along_model": charts_along_model(run),
        "iterations": None if run.metrics is None or not len(run.metrics.chain) else charts_of_iterations(run.metrics),
        "shells": chart_of_shells(run),
        "palette": [*OKABE_ITO, "#F0E442", "#999999"],
        "scale": colour_scale("viridis", _SCALE_STEPS),
    }
    marked = residues_to_look_at(run)
    scripts = [asset(name) for name in _SCRIPTS]
    model, density = title(run)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(asset("page.html")).render(
        model=model,
        density=density,
        run=run,
        policy=script_policy(scripts),
        styles=[asset(name) for name in _STYLES],
        scripts=scripts,
        licences=[(name, asset(file)) for name, file in _LICENCES],
        data=script_json(data),
        finished=run.summary is not None,
        warnings=list(summary.get("warnings", ())),
        findings=list(summary.get("findings", ())),
        key_numbers=key_numbers(run),
        facts=facts(run),
        changes=changes(run),
        validation_notes=list(run.validation.get("fitted", {}).get("notes", ())),
        diagnostics=diagnostics(summary),
        has_map=view is not None and "map" in view,
        models=[] if view is None else list(view["models"]),
        has_ensemble=view is not None and "ensemble" in view,
        has_displacement="displacement" in values,
        has_uncertainty="sd" in values,
        marked=marked[:MOST_LISTED],
        n_marked=len(marked),
        has_local_fit="smoc" in values,
        charts=data["along_model"]["charts"] if data["along_model"] else [],
        run_charts=data["iterations"],
        shells=data["shells"],
        versions=[(name, str(value)) for name, value in run.provenance.items()],
        hashes=[(name, str(value)) for name, value in run.inputs.items() if name.endswith("_sha256")],
    )
