"use strict";
// The view of the models in the map (by 3Dmol.js), and the curves (by uPlot), from the data in the page.
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const arrayTypes = { uint8: Uint8Array, int32: Int32Array, float32: Float32Array };

  function decode(packed) {
    const text = atob(packed.base64);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return new arrayTypes[packed.type](bytes.buffer);
  }

  function digits(value, n) {
    return Number.isFinite(value) ? String(Number(value.toPrecision(n))) : "–";
  }

  // ---- colours -------------------------------------------------------------------------------------------------

  function chainColour(index) {
    const palette = data.palette;
    return index < palette.length ? palette[index] : `hsl(${(index * 137.5) % 360}, 60%, 50%)`;
  }

  function hexOf(colour) {
    if (colour[0] === "#") return colour;
    const [h, s, l] = colour.match(/[\d.]+/g).map(Number);
    const channel = (n) => {
      const k = (n + h / 30) % 12;
      const a = (s / 100) * Math.min(l / 100, 1 - l / 100);
      return Math.round(255 * (l / 100 - a * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
    };
    return "#" + [0, 8, 4].map((n) => channel(n).toString(16).padStart(2, "0")).join("");
  }

  function scaleColour(share) {
    const stops = data.scale;
    const position = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
    const low = Math.min(Math.floor(position), stops.length - 2);
    const part = (stop, i) => parseInt(stop.slice(1 + 2 * i, 3 + 2 * i), 16);
    return "#" + [0, 1, 2].map((i) => {
      const mixed = part(stops[low], i) + (position - low) * (part(stops[low + 1], i) - part(stops[low], i));
      return Math.round(mixed).toString(16).padStart(2, "0");
    }).join("");
  }

  // ---- the view ------------------------------------------------------------------------------------------------

  let view = null;

  function makeView(scene, element) {
    const viewer = $3Dmol.createViewer(element, {
      backgroundColor: "white",
      antialias: true,
      cartoonQuality: scene.atom_residue && scene.atom_residue.base64.length > 80000 ? 5 : 10,
    });
    if (!viewer) throw new Error("no viewer");
    const models = {};
    const hasModels = Object.keys(scene.models).length > 0;
    const field = (name) => decode(scene[name]);
    const residueOf = hasModels ? field("atom_residue") : null;
    const chainOf = hasModels ? field("residue_chain") : null;
    const values = {};
    for (const name of Object.keys(scene.residue_values || {})) values[name] = decode(scene.residue_values[name]);
    const coordinates = {};

    // Numbers stand for the names of chains and residues: the viewer parses nothing that a file says.
    function mmcif(coords) {
      const strand = field("residue_strand"), number = field("residue_number"), kind = field("residue_kind");
      const name = field("atom_name"), element = field("atom_element"), ligand = field("atom_is_ligand");
      const lines = ["data_model", "loop_"];
      for (const item of ["group_PDB", "id", "type_symbol", "label_atom_id", "auth_comp_id", "auth_asym_id",
        "auth_seq_id", "Cartn_x", "Cartn_y", "Cartn_z"]) lines.push("_atom_site." + item);
      for (let i = 0; i < residueOf.length; i++) {
        const r = residueOf[i];
        const symbol = scene.elements[element[i]].replace(/[^A-Za-z]/g, "") || "X";
        lines.push([ligand[i] ? "HETATM" : "ATOM", i + 1, symbol,
          `"${scene.atom_names[name[i]] || symbol}"`, scene.residue_kinds[kind[r]], "s" + strand[r], number[r],
          coords[3 * i].toFixed(3), coords[3 * i + 1].toFixed(3), coords[3 * i + 2].toFixed(3)].join(" "));
      }
      return lines.join("\n") + "\n";
    }

    for (const name of ["start", "fitted"]) {
      if (!(name in scene.models)) continue;
      coordinates[name] = decode(scene.models[name]);
      const model = viewer.addModel(mmcif(coordinates[name]), "cif");
      models[name] = { model, atoms: model.selectedAtoms({}) };
    }
    if (models.start && models.fitted) {
      // The same ribbon for both, whichever hydrogen bonds are just within reach.
      models.start.atoms.forEach((atom, i) => {
        for (const key of ["ss", "ssbegin", "ssend"]) models.fitted.atoms[i][key] = atom[key];
      });
    }

    const ranges = {};
    function rangeOf(name) {
      if (!(name in ranges)) {
        const known = Array.from(new Set(residueOf), (r) => values[name][r]).filter(Number.isFinite).sort((a, b) => a - b);
        if (name === "smoc") {
          // What fits worst is told apart, and what fits is all alike.
          const low = known.length ? known[Math.floor(0.01 * (known.length - 1))] : 0;
          return (ranges[name] = [low, Math.max(known.length ? known[known.length - 1] : 1, low + 0.01)]);
        }
        // The upper end leaves out the last hundredth, which would otherwise flatten the rest.
        ranges[name] = [0, known.length ? known[Math.floor(0.99 * (known.length - 1))] || 1 : 1];
      }
      return ranges[name];
    }

    function colourOf(mode) {
      if (mode === "chain") return (atom) => hexOf(chainColour(chainOf[residueOf[atom.serial]]));
      const [low, high] = rangeOf(mode);
      return (atom) => {
        const value = values[mode][residueOf[atom.serial]];
        return Number.isFinite(value) ? scaleColour((value - low) / (high - low)) : "#bbbbbb";
      };
    }

    const checked = (id) => Boolean(byId(id) && byId(id).checked);
    const chosen = () => (document.querySelector('input[name="colour"]:checked') || { value: "chain" }).value;

    function paintModels() {
      const colour = hasModels ? colourOf(chosen()) : null;
      for (const name of Object.keys(models)) {
        const { model } = models[name];
        const beside = name === "start" && checked("show-fitted") && Boolean(models.fitted);
        if (!checked("show-" + name)) { model.hide(); continue; }
        model.show();
        const style = { colorfunc: beside ? () => "#9a9a9a" : colour };
        if (scene.has_backbone) Object.assign(style, { arrows: true });
        else Object.assign(style, { style: "trace", thickness: 0.5 });
        if (beside) style.thickness = scene.has_backbone ? 0.25 : 0.3;
        model.setStyle({ hetflag: false }, { cartoon: style });
        const ligand = beside ? { color: "#9a9a9a", radius: 0.15 } : { radius: 0.2 };
        model.setStyle({ hetflag: true }, { stick: ligand, sphere: { scale: 0.22, ...(beside ? { color: "#9a9a9a" } : {}) } });
      }
      paintEnsemble(colour);
      paintKey();
    }

    // Draws become models of their own, made when they are first asked for.
    let draws = null;
    function paintEnsemble(colour) {
      if (!scene.ensemble) return;
      if (checked("show-ensemble") && draws === null) draws = makeDraws();
      for (const model of draws || []) {
        if (!checked("show-ensemble")) { model.hide(); continue; }
        model.show();
        model.setStyle({}, { line: { colorfunc: (atom) => colour({ serial: firstAtom[atom.properties.residue] }), linewidth: 1 } });
      }
    }
    const firstAtom = {};
    if (hasModels) for (let i = residueOf.length - 1; i >= 0; i--) firstAtom[residueOf[i]] = i;

    function makeDraws() {
      const coords = decode(scene.ensemble.coords), residue = decode(scene.ensemble.residue);
      const strand = field("residue_strand"), n = residue.length;
      const made = [];
      for (let draw = 0; draw < scene.ensemble.number; draw++) {
        const atoms = [];
        for (let i = 0; i < n; i++) {
          const at = 3 * (draw * n + i);
          const atom = { elem: "C", atom: "CA", x: coords[at], y: coords[at + 1], z: coords[at + 2], serial: i, bonds: [],
            bondOrder: [], properties: { residue: residue[i] } };
          const before = atoms[i - 1];
          // A gap of the chain is no line: neighbours are 3.8 Å apart, stretched draws a little more.
          if (before && strand[residue[i]] === strand[residue[i - 1]]
              && Math.hypot(atom.x - before.x, atom.y - before.y, atom.z - before.z) < 5.5) {
            before.bonds.push(i); before.bondOrder.push(1); atom.bonds.push(i - 1); atom.bondOrder.push(1);
          }
          atoms.push(atom);
        }
        const model = viewer.addModel();
        model.addAtoms(atoms);
        made.push(model);
      }
      return made;
    }

    function paintKey() {
      const key = byId("colour-key");
      if (!key) return;
      key.replaceChildren();
      if (chosen() === "chain") {
        scene.chains.forEach((name, index) => {
          const swatch = document.createElement("span");
          swatch.className = "swatch";
          swatch.style.setProperty("--colour", chainColour(index));
          swatch.textContent = name;
          key.append(swatch);
        });
        return;
      }
      const bar = document.createElement("div"), ends = document.createElement("div");
      bar.className = "bar";
      bar.style.background = `linear-gradient(to right, ${data.scale.join(", ")})`;
      ends.className = "ends";
      const [low, high] = rangeOf(chosen());
      const told = chosen() === "smoc" ? [`${digits(low, 3)} or less`, digits(high, 3)] : [`${digits(low, 3)} Å`, `${digits(high, 3)} Å or more`];
      for (const text of told) {
        const end = document.createElement("span");
        end.textContent = text;
        ends.append(end);
      }
      key.append(bar, ends);
    }

    // The map: values are kept as bytes, and the level is put into their units.
    let surface = null, volume = null;
    if (scene.map) {
      volume = new $3Dmol.VolumeData("", "none");
      volume.data = decode(scene.map.values);
      [volume.size.x, volume.size.y, volume.size.z] = scene.map.size;
      [volume.unit.x, volume.unit.y, volume.unit.z] = scene.map.unit;
      [volume.origin.x, volume.origin.y, volume.origin.z] = scene.map.origin;
      const [low, high] = scene.map.range;
      byId("contour").value = 200 * (scene.map.level - low) / (high - low);
    }

    function paintMap() {
      if (!volume) return;
      if (surface) { viewer.removeShape(surface); surface = null; }
      const [low, high] = scene.map.range;
      const level = low + (high - low) * byId("contour").value / 200;
      byId("contour-value").textContent = digits(level, 3);
      const isoval = (level - scene.map.offset) / scene.map.scale;
      if (checked("show-map") && volume.data.some((value) => value > isoval)) {
        surface = viewer.addIsosurface(volume, {
          isoval,
          color: "#3f78b5",
          opacity: byId("opacity").value / 100,
          smoothness: 4,
        });
      }
    }

    function repaint() { paintModels(); viewer.render(); }
    function repaintMap() { paintMap(); viewer.render(); }
    let waiting = null;
    function soon(task) {
      clearTimeout(waiting);
      waiting = setTimeout(task, 60);
    }
    for (const id of ["show-fitted", "show-start", "show-ensemble"]) if (byId(id)) byId(id).addEventListener("change", repaint);
    for (const input of document.querySelectorAll('input[name="colour"]')) input.addEventListener("change", repaint);
    if (volume) {
      byId("show-map").addEventListener("change", repaintMap);
      for (const id of ["contour", "opacity"]) byId(id).addEventListener("input", () => soon(repaintMap));
    }
    if (scene.ensemble) byId("n-draws").textContent = String(scene.ensemble.number);

    function describe(residue) {
      const parts = [scene.residue_names[residue]];
      const add = (name, text) => {
        if (values[name] && Number.isFinite(values[name][residue])) parts.push(text(digits(values[name][residue], 3)));
      };
      add("displacement", (value) => `moved ${value} Å`);
      add("sd", (value) => `SD ${value} Å`);
      add("radius_90", (value) => `90 % of draws within ${value} Å`);
      add("support", (value) => `support ${value}`);
      add("smoc", (value) => `SMOC ${value}`);
      add("q_score", (value) => `Q-score ${value}`);
      byId("picked").textContent = parts.join(", ");
    }

    let mark = null;
    function point(residue, name, move) {
      describe(residue);
      const i = firstAtomOf(residue);
      if (i === undefined) return;
      const coords = coordinates[name];
      const centre = { x: coords[3 * i], y: coords[3 * i + 1], z: coords[3 * i + 2] };
      if (mark) viewer.removeShape(mark);
      mark = viewer.addSphere({ center: centre, radius: 2.0, color: "#d00000", opacity: 0.75 });
      if (move) viewer.center({ model: models[name].model, serial: i }, 400);
      viewer.render();
    }
    function firstAtomOf(residue) {
      if (firstAtom[residue] === undefined) return undefined;
      const ca = scene.atom_names.indexOf("CA");
      const name = atomNames || (atomNames = field("atom_name"));
      for (let i = firstAtom[residue]; residueOf[i] === residue; i++) if (name[i] === ca) return i;
      return firstAtom[residue];
    }
    let atomNames = null;

    for (const name of Object.keys(models)) {
      models[name].model.setClickable({}, true, (atom) => point(residueOf[atom.serial], name, false));
    }

    // All of the models; the viewer fits them into the height of its window alone.
    const shown = Object.values(models).map(({ model }) => model);
    function seeAll() {
      if (mark) { viewer.removeShape(mark); mark = null; }
      viewer.zoomTo(shown.length ? { model: shown } : {});
      viewer.zoom(0.92 * Math.min(1, element.clientWidth / element.clientHeight));
    }
    // The viewer draws whenever it turns or zooms: first of all, while there is nothing to draw.
    for (const { model } of Object.values(models)) model.setStyle({}, {});
    seeAll();
    paintModels();
    paintMap();
    viewer.render();
    byId("reset").addEventListener("click", seeAll);
    return { viewer, find: (residue) => point(residue, "fitted" in models ? "fitted" : "start", true) };
  }

  if (data.scene) {
    const element = byId("scene");
    try {
      view = makeView(data.scene, element);
      element.dataset.state = "drawn";
    } catch (error) {
      element.hidden = true;
      const note = byId("no-scene");
      note.hidden = false;
      note.textContent = "This browser cannot draw the three-dimensional view (it needs WebGL). Open fitted.cif and the map in ChimeraX instead.";
      console.warn(String(error));
    }
  }

  // ---- the curves ----------------------------------------------------------------------------------------------

  const font = "14px system-ui, sans-serif";
  const axis = { font, labelFont: font, stroke: "#57606a", grid: { stroke: "#e6e9ec", width: 1 }, ticks: { stroke: "#d0d7de", width: 1 } };
  const plots = [];

  function shade(u, begin, end, colour) {
    const left = Math.max(u.valToPos(begin, "x", true), u.bbox.left);
    const right = Math.min(u.valToPos(end, "x", true), u.bbox.left + u.bbox.width);
    if (right <= left) return;
    u.ctx.fillStyle = colour;
    u.ctx.fillRect(left, u.bbox.top, Math.max(right - left, 1), u.bbox.height);
  }

  function addPlot(element, xs, curves, options) {
    const size = () => ({ width: element.clientWidth, height: options.height || 240 });
    const plot = new uPlot({
      ...size(),
      padding: [8, 12, 0, 0],
      scales: {
        x: { time: false },
        y: options.range ? { range: () => options.range } : options.fromZero ? { range: (u, low, high) => [Math.max(Math.min(0, low), options.lowest ?? -Infinity), 1.15 * Math.max(high, 1e-6)] } : {},
      },
      axes: [
        { ...axis, ...options.xAxis },
        { ...axis, size: 66, values: (u, ticks) => ticks.map((tick) => digits(tick, 6)) },
      ],
      legend: { live: true, markers: { width: 3, dash: (u, i) => (i > 0 && curves[i - 1].dashed ? "dashed" : "solid") } },
      cursor: { drag: { x: true, y: false }, focus: { prox: 24 }, points: { size: 7 }, ...(options.sync ? { sync: { key: options.sync } } : {}) },
      series: [options.xSeries, ...curves.map((curve) => ({
        label: curve.label, stroke: curve.colour, width: curve.width || 1.4, spanGaps: Boolean(curve.spanGaps),
        dash: curve.dashed ? [6, 5] : undefined,
        value: (u, value) => (value === null || value === undefined ? "–" : digits(value, 4)),
      }))],
      hooks: { drawClear: [(u) => options.background && options.background(u)] },
    }, [xs, ...curves.map((curve) => curve.values)], element);
    plots.push([plot, size]);
    new ResizeObserver(() => {
      const wanted = size();
      if (wanted.width > 0 && wanted.width !== plot.width) plot.setSize(wanted);
    }).observe(element);
    return plot;
  }

  for (const button of document.querySelectorAll("[data-residue]")) {
    button.addEventListener("click", () => {
      if (!view) return;
      byId("view").scrollIntoView({ behavior: "smooth", block: "start" });
      view.find(Number(button.dataset.residue));
    });
  }

  const along = data.along_model;
  if (along) {
    const names = data.scene.residue_names;
    const xs = along.residues.map((_, i) => i + 1);
    const chainOf = decode(data.scene.residue_chain);
    const nameAt = (x) => names[along.residues[x - 1]] || "";
    const begins = along.residues.map((r, i) => (i === 0 || chainOf[r] !== chainOf[along.residues[i - 1]] ? i : -1)).filter((i) => i >= 0);
    const background = (u) => {
      for (const i of along.prior_only) shade(u, i + 0.5, i + 1.5, "#eceff2");
      if (begins.length < 2) return;
      u.ctx.font = `${13 * devicePixelRatio}px system-ui, sans-serif`;
      let free = -Infinity;
      for (const i of begins) {
        const left = Math.max(u.valToPos(i + 0.5, "x", true), i === 0 && u.scales.x.min <= 1 ? u.bbox.left : -Infinity);
        if (left < u.bbox.left || left > u.bbox.left + u.bbox.width) continue;
        shade(u, i + 0.5, i + 0.5 + 1e-9, "#b0b7be");
        const text = data.scene.chains[chainOf[along.residues[i]]];
        if (left < free) continue;
        u.ctx.fillStyle = "#57606a";
        u.ctx.textBaseline = "top";
        u.ctx.textAlign = "left";
        u.ctx.fillText(text, left + 4, u.bbox.top + 2);
        free = left + u.ctx.measureText(text).width + 10;
      }
    };
    for (const element of document.querySelectorAll("[data-residue-chart]")) {
      const chart = along.charts[Number(element.dataset.residueChart)];
      const plot = addPlot(element, xs, chart.curves, {
        fromZero: true, lowest: chart.lowest, sync: "residues", height: 220, background,
        xSeries: { label: "residue", value: (u, x) => (x === null || x === undefined ? "–" : nameAt(x)) },
        xAxis: { space: 90, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000],
          values: (u, ticks) => ticks.map((x) => nameAt(x).split(" ").slice(0, 2).join(" ")) },
      });
      plot.over.addEventListener("click", () => {
        const at = plot.cursor.idx;
        if (view && at !== null && at !== undefined) view.find(along.residues[at]);
      });
    }
  }

  const shells = data.shells;
  if (shells) {
    const scaleOf = (x) => (x > 0 ? `${digits(1 / x, 3)} Å` : "∞");
    // Round scales in Å, so that the reader need not take reciprocals.
    const round = [100, 50, 30, 20, 15, 12, 10, 9, 8, 7, 6, 5, 4.5, 4, 3.5, 3, 2.8, 2.6, 2.4, 2.2, 2, 1.8, 1.6, 1.4, 1.2, 1];
    const splits = (u, index, low, high) => {
      const chosen = [];
      for (const scale of round) {
        const x = 1 / scale;
        if (x < low || x > high) continue;
        if (!chosen.length || u.valToPos(x, "x") - u.valToPos(chosen[chosen.length - 1], "x") > 55) chosen.push(x);
      }
      return chosen;
    };
    const background = (u) => {
      const { left, width, top, height } = u.bbox;
      const text = (words, x, y, align, baseline) => {
        u.ctx.font = `${13 * devicePixelRatio}px system-ui, sans-serif`;
        u.ctx.fillStyle = "#57606a";
        u.ctx.textAlign = align;
        u.ctx.textBaseline = baseline;
        u.ctx.fillText(words, x, y);
      };
      // Beyond the resolution that the fit was told nothing was fitted.
      if (shells.resolution) {
        const at = Math.max(u.valToPos(1 / shells.resolution, "x", true), left);
        if (at < left + width) {
          u.ctx.fillStyle = "#f1f3f5";
          u.ctx.fillRect(at, top, left + width - at, height);
          text(`finer than ${digits(shells.resolution, 3)} Å`, at + 4, top + height - 4, "left", "bottom");
        }
      }
      for (const limit of shells.limits) {
        const y = u.valToPos(limit, "y", true);
        u.ctx.fillStyle = "#7a838b";
        u.ctx.fillRect(left, y, width, 1.5 * devicePixelRatio);
        text(String(limit), left + width - 4, y - 2, "right", "bottom");
      }
    };
    addPlot(byId("shells"), shells.frequency, shells.curves, {
      background, range: [-0.25, 1.05], height: 280,
      xSeries: { label: "scale", value: (u, x) => (x === null || x === undefined ? "–" : scaleOf(x)) },
      xAxis: { splits, values: (u, ticks) => ticks.map(scaleOf) },
    });
  }

  const run = data.iterations;
  if (run) {
    const background = (u) => {
      for (const stage of run.stages) {
        if (stage.warmup) shade(u, stage.begin, stage.end, "#f1f3f5");
        shade(u, stage.begin, stage.begin + 1e-9, "#c4cad0");
      }
    };
    const xSeries = { label: "iteration", value: (u, x) => (x === null || x === undefined ? "–" : String(x)) };
    const xAxis = { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000], space: 70 };
    const curvesOf = (chart) => chart.curves.map((values, i) => ({
      label: run.chains[i].name, colour: run.chains[i].colour, values, spanGaps: true }));
    for (const element of document.querySelectorAll("[data-run-chart]")) {
      const chart = run.charts[Number(element.dataset.runChart)];
      addPlot(element, run.iterations, curvesOf(chart), { xSeries, xAxis, background, range: chart.range, sync: "iterations" });
    }
    if (byId("mode")) {
      const first = run.amplitudes[0];
      const plot = addPlot(byId("amplitude"), run.iterations, curvesOf(first), { xSeries, xAxis, background, sync: "iterations" });
      byId("mode").addEventListener("change", (event) => {
        plot.setData([run.iterations, ...run.amplitudes[Number(event.target.value)].curves]);
      });
    }
  }

  // ---- the command ---------------------------------------------------------------------------------------------

  if (byId("copy")) {
    byId("copy").addEventListener("click", async () => {
      const code = byId("command");
      try {
        await navigator.clipboard.writeText(code.textContent.trim());
        byId("copy").textContent = "Copied";
      } catch (error) {
        // Pages opened from a file may not write to the clipboard: then the text is at least selected.
        getSelection().selectAllChildren(code);
        byId("copy").textContent = "Selected: copy it with your keyboard";
      }
    });
  }
  document.documentElement.dataset.ready = "yes";
})();
