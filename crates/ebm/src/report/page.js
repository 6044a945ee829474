"use strict";
(() => {
  const { runs, version } = JSON.parse(document.getElementById("runs").textContent);
  // Colours that stay apart for most eyes (Okabe and Ito 2008); black and yellow depend on the background.
  const COLOURS = ["--ink", "#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#0072b2", "#d55e00", "#a39300"];
  const DASHES = [[], [8, 4], [2, 3]];
  const root = document.documentElement;
  const main = document.getElementById("main");
  const many = runs.length > 1;

  const el = (name, props = {}, ...children) => {
    const e = Object.assign(document.createElement(name), props);
    e.append(...children);
    return e;
  };
  const section = (title, ...children) => {
    const s = el("section", {}, el("h2", { textContent: title }), ...children);
    main.append(s);
    return s;
  };
  const paint = c => c.startsWith("--") ? getComputedStyle(root).getPropertyValue(c).trim() : c;
  const short = v => {
    if (typeof v !== "number") return v === null || v === undefined ? "–" : String(v);
    if (v !== 0 && (Math.abs(v) < 1e-3 || Math.abs(v) >= 1e6)) return v.toExponential(2);
    return String(Number(v.toPrecision(4)));
  };
  const last = c => c && c.y.length ? c.y[c.y.length - 1] : undefined;

  // ---- theme
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const redraws = [];
  const themed = value => { root.dataset.theme = value; redraws.forEach(f => f()); };
  themed(dark() ? "dark" : "light");
  document.getElementById("theme").onclick = () => themed(dark() ? "light" : "dark");
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", e => themed(e.matches ? "dark" : "light"));

  // ---- head
  document.title = runs.map(r => r.name).join(", ") + " – ebm report";
  document.getElementById("title").textContent = runs.map(r => r.name).join(" · ");
  for (const run of runs) {
    const time = run.seconds ? `, ${short(run.seconds)} s the last time` : "";
    main.append(el("div", { className: "health " + run.health.level },
      el("span", { className: "word", textContent: (many ? run.name + ": " : "") + run.health.level }),
      el("p", { textContent: run.health.sentence }),
      ...run.health.remarks.map(t => el("p", { textContent: t })),
      el("p", { className: "quiet", textContent: `Update ${run.step}${run.of ? " of " + run.of : ""}; ${run.outcome}${time}.` }),
      ...run.notes.map(t => el("p", { className: "quiet", textContent: t }))));
  }

  // ---- comparison
  const table = (columns, rows) => el("div", { className: "wide" }, el("table", {},
    el("thead", {}, el("tr", {}, ...columns.map(c => el("th", { textContent: c })))),
    el("tbody", {}, ...rows.map(r => el("tr", {}, ...r.map(c => el("td", { textContent: short(c) })))))));
  const metrics = [...new Set(runs.flatMap(r => Object.keys(r.curves)))].sort();
  if (many) {
    section("Last values", table(["", ...runs.map(r => r.name)],
      metrics.map(m => [m, ...runs.map(r => last(r.curves[m]))])));
    const lines = runs.map(r => {
      let path = "";
      const found = new Map();
      for (const line of r.config.split("\n")) {
        const header = line.match(/^\s*(\[\[?[^\]]*\]\]?)/);
        if (header) path = header[1] + " ";
        else if (line.includes("=") && !line.trim().startsWith("#")) {
          const at = line.indexOf("=");
          found.set(path + line.slice(0, at).trim(), line.slice(at + 1).trim());
        }
      }
      return found;
    });
    const keys = [...new Set(lines.flatMap(m => [...m.keys()]))]
      .filter(k => new Set(lines.map(m => m.get(k))).size > 1);
    section("What differs in the configurations", keys.length
      ? table(["", ...runs.map(r => r.name)], keys.map(k => [k, ...lines.map(m => m.get(k))]))
      : el("p", { className: "quiet", textContent: "Nothing." }));
  }

  // ---- curves
  const axes = () => ({ stroke: paint("--quiet"), grid: { stroke: paint("--faint"), width: 1 }, ticks: { stroke: paint("--faint") } });
  const sync = uPlot.sync("steps");
  const chart = (parent, title, lines, log) => {
    const box = el("div", {}, el("h3", { textContent: title }));
    parent.append(box);
    const data = lines.length === 1 ? [lines[0].curve.x, lines[0].curve.y]
      : uPlot.join(lines.map(l => [l.curve.x, l.curve.y]));
    const draw = zoom => {
      box.querySelectorAll(".uplot").forEach(e => e.remove());
      const axis = axes();
      const plot = new uPlot({
        width: Math.max(280, box.clientWidth || 560), height: 230,
        scales: { x: { time: false }, y: log ? { distr: 3 } : {} },
        axes: [axis, { ...axis, size: 66, values: (_, ticks) => ticks.map(t => t === null ? "" : short(t)) }],
        cursor: { sync: { key: sync.key }, drag: { x: true, y: false } },
        series: [{ label: "step" }, ...lines.map((l, i) => ({
          label: l.name, stroke: paint(COLOURS[i % COLOURS.length]), width: 1.4, spanGaps: true,
          dash: DASHES[Math.floor(i / COLOURS.length) % DASHES.length], points: { show: l.curve.x.length < 2 },
          value: (_, v) => short(v),
        }))],
      }, data, box);
      if (zoom) plot.setScale("x", zoom);
      return plot;
    };
    let plot = draw();
    redraws.push(() => { const { min, max } = plot.scales.x; plot.destroy(); plot = draw({ min, max }); });
  };
  if (metrics.length) {
    const grid = el("div", { className: "grid" });
    section("Curves", el("p", { className: "quiet", textContent: "Drag over a curve to zoom, double-click to see all." }), grid);
    const positive = lines => lines.every(l => l.curve.y.every(v => v > 0));
    const lines = names => names.flatMap(m => runs.filter(r => r.curves[m])
      .map(r => ({ name: many ? (names.length > 1 ? `${r.name} ${m}` : r.name) : m, curve: r.curves[m] })));
    // Several metrics of one kind share a chart where there is one run; with several runs each metric has its own.
    const groups = many ? [] : [
      ["energies", m => m === "energy.data" || m === "energy.samples"],
      ["standard deviations of the energies", m => /^energy\..*\.sd$/.test(m)],
      ["norms of the gradients", m => m === "grad" || m.startsWith("grad.")],
      ["seconds a step", m => m === "seconds" || m.startsWith("seconds.")],
    ];
    const taken = new Set();
    for (const [title, holds] of groups) {
      const names = metrics.filter(holds);
      if (!names.length) continue;
      names.forEach(n => taken.add(n));
      const all = lines(names);
      chart(grid, title, all, !title.startsWith("energ") && positive(all));
    }
    for (const m of metrics.filter(m => !taken.has(m))) {
      const all = lines([m]);
      chart(grid, m, all, /^(grad|rate|step_size|seconds)/.test(m) && positive(all));
    }
  }

  // ---- pictures
  for (const run of runs.filter(r => r.sheets.length || r.samples)) {
    const box = el("div", { className: "pictures" });
    section(many ? "Pictures of " + run.name : "Pictures", box);
    for (const { kind, pictures } of run.sheets) {
      const image = el("img", { alt: kind });
      const word = el("span", { className: "quiet" });
      const slider = el("input", { type: "range", min: 0, max: pictures.length - 1, value: pictures.length - 1 });
      slider.setAttribute("aria-label", `${kind} over training`);
      const show = () => {
        const p = pictures[slider.value];
        image.src = p.data;
        word.textContent = `after update ${p.step}`;
      };
      slider.oninput = show;
      show();
      box.append(el("div", {}, el("h3", { textContent: kind }), image, slider, word));
    }
    if (run.samples) {
      box.append(el("div", {}, el("h3", { textContent: "samples at the end" }), el("img", { src: run.samples.data, alt: "samples at the end" })));
    }
  }

  // ---- energies
  const middles = edges => edges.slice(1).map((e, i) => (edges[i] + e) / 2);
  const shown = runs.flatMap(r => r.histograms.map(h => ({ run: r, ...h })));
  if (shown.length) {
    const grid = el("div", { className: "grid" });
    section("Energies", el("p", { className: "quiet", textContent: "Samples in each of 60 bins, by energy in nats." }), grid);
    for (const { run, title, edges, sets } of shown) {
      const box = el("div", {}, el("h3", { textContent: (many ? run.name + ": " : "") + title }));
      grid.append(box);
      const draw = () => {
        box.querySelectorAll(".uplot").forEach(e => e.remove());
        const axis = axes();
        new uPlot({
          width: Math.max(280, box.clientWidth || 560), height: 260, scales: { x: { time: false } },
          axes: [{ ...axis, values: (_, ticks) => ticks.map(short) }, axis],
          series: [{ label: "energy", value: (_, v) => short(v) }, ...sets.map(([name], i) => ({
            label: name, stroke: paint(COLOURS[i]), fill: i < 2 ? undefined : paint(COLOURS[i]) + "30", width: 1.5,
            paths: uPlot.paths.stepped({ align: 0 }), points: { show: false },
          }))],
        }, [middles(edges), ...sets.map(([, counts]) => counts)], box);
      };
      draw();
      redraws.push(draw);
    }
  }

  // ---- surfaces of the plane
  const VIRIDIS = [[68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137], [53, 183, 121], [109, 205, 89], [180, 222, 44], [253, 231, 37]];
  const colour = t => {
    const at = Math.min(Math.max(t, 0), 1) * (VIRIDIS.length - 1), i = Math.min(Math.floor(at), VIRIDIS.length - 2);
    return VIRIDIS[i].map((c, k) => c + (VIRIDIS[i + 1][k] - c) * (at - i));
  };
  const planes = runs.filter(r => r.surface);
  if (planes.length) {
    const box = el("div", { className: "pictures" });
    section("Energy over the plane", el("p", { className: "quiet", textContent: "Yellow is low energy (likely), violet is high; white points are data, orange ones chains of the replay buffer." }), box);
    for (const run of planes) {
      const { half, cells, energies, data, chains } = run.surface;
      const canvas = el("canvas", { className: "surface", width: 4 * cells, height: 4 * cells });
      box.append(el("div", {}, el("h3", { textContent: run.name }), canvas));
      // The colours run from the least energy to the median: beyond it there is nothing to tell apart.
      const sorted = Float32Array.from(energies.filter(Number.isFinite)).sort();
      const low = sorted[0], high = sorted[Math.floor(sorted.length * 0.6)];
      const small = el("canvas", { width: cells, height: cells });
      const image = small.getContext("2d").createImageData(cells, cells);
      for (let i = 0; i < cells; i++) for (let j = 0; j < cells; j++) {
        const [r, g, b] = colour(1 - (energies[i * cells + j] - low) / (high - low || 1));
        image.data.set([r, g, b, 255], 4 * ((cells - 1 - j) * cells + i));
      }
      small.getContext("2d").putImageData(image, 0, 0);
      const on = canvas.getContext("2d");
      on.imageSmoothingEnabled = true;
      on.drawImage(small, 0, 0, 4 * cells, 4 * cells);
      const dots = (points, style) => {
        on.fillStyle = style;
        for (const [x, y] of points) on.fillRect((x / half + 1) * 2 * cells - 1, (1 - y / half) * 2 * cells - 1, 2, 2);
      };
      dots(data, "#ffffffb0");
      dots(chains, "#e69f00");
    }
  }

  // ---- tables
  const flat = (value, path = "") => value !== null && typeof value === "object"
    ? Object.entries(value).flatMap(([k, v]) => flat(v, path ? `${path}.${k}` : k)) : [[path, value]];
  const asTable = value => {
    const rows = Array.isArray(value) ? value : Object.values(value ?? {});
    const records = rows.length && rows.every(r => r !== null && typeof r === "object" && !Array.isArray(r));
    if (!records) return table(["", ""], flat(value));
    const names = Array.isArray(value) ? null : Object.keys(value);
    const flats = rows.map(r => Object.fromEntries(flat(r)));
    const columns = [...new Set(flats.flatMap(Object.keys))].slice(0, 24);
    return table([names ? "" : "#", ...columns], flats.map((r, i) => [names ? names[i] : i, ...columns.map(c => r[c])]));
  };
  for (const run of runs) for (const [title, value] of run.tables) {
    // One level of wrapping, such as {count, samples: {...}, real: {...}}, is figures beside records.
    if (value && !Array.isArray(value) && typeof value === "object") {
      const plain = Object.entries(value).filter(([, v]) => v === null || typeof v !== "object");
      const rest = Object.entries(value).filter(([, v]) => v !== null && typeof v === "object");
      if (plain.length && rest.length) {
        section((many ? run.name + ": " : "") + title, table(["", ""], plain),
          ...(rest.every(([, v]) => !Array.isArray(v)) ? [asTable(Object.fromEntries(rest))]
            : rest.flatMap(([k, v]) => [el("h3", { textContent: k }), asTable(v)])));
        continue;
      }
    }
    section((many ? run.name + ": " : "") + title, asTable(value));
  }

  // ---- configuration
  for (const run of runs) {
    section(many ? "Configuration of " + run.name : "Configuration",
      el("details", { open: !many }, el("summary", { textContent: "config.toml" }), el("pre", { textContent: run.config })));
  }
  main.append(el("p", { className: "quiet", textContent: `ebm ${version}` }));
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraws.forEach(f => f()); } });
  document.body.dataset.ready = "yes";
})();
