// A chart for each metric of one run or of several, with what all of them share: x, smoothing, logarithms.

import { Chart } from "./chart.js";
import { lineStyle } from "./colours.js";
import { el, fill, labelledCheck, labelledSelect, setOptions, smoothingSelect } from "./dom.js";
import * as view from "./view_state.js";

const FIRST = ["loss", "acc", "pplx", "bits_per_byte", "grad_norm", "lr"];
const SPLITS = ["train", "val", "test"];

/** What to ask a run's curves with: as the address has it. */
export function curvesQuery() {
  return new URLSearchParams({ x: view.read("x", "steps"), smooth: view.readWeight("smooth") });
}

/** `root` has the controls and the charts; `onAsk()` hears that curves must be asked for again. */
export class MetricCharts {
  constructor(axes, onAsk) {
    this.axes = axes;
    this.charts = new Map();
    this.runs = [];
    this.grid = el("div", { class: "figures" });
    this.over = labelledSelect("Over", Object.entries(axes), view.read("x", "steps"), (value) => {
      view.write({ x: value }, { x: "steps" });
      this.zoom(null); // a stretch of another x
      onAsk();
    });
    const checks = ["log x", "log y"].map((label) => {
      const name = label.replace(" ", "");
      return labelledCheck(label, view.isOn(name), (isOn) => {
        view.write({ [name]: isOn });
        this.draw(this.runs);
      }).root;
    });
    this.root = el("div");
    fill(this.root, el("div", { class: "row chart-controls" }, this.over.root, smoothingSelect(onAsk), checks), this.grid);
  }

  /** `runs` are answers for the curves of runs, each with a `name`; a single run's is empty. */
  draw(runs) {
    this.runs = runs;
    const names = [...new Set(runs.flatMap((run) => Object.keys(run.metrics)))];
    names.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
    const options = [...Object.entries(this.axes), ...names.map((name) => [name, this.label(name)])];
    if (this.over.select.length !== options.length) setOptions(this.over.select, options, view.read("x", "steps"));
    for (const name of names) this.chart(name).draw(this.content(name));
  }

  /** All charts show the same stretch of x. */
  zoom(range) {
    view.writeRange("zoom", range);
    for (const chart of this.charts.values()) chart.showZoom(range);
  }

  label(name) {
    return this.runs.map((run) => run.labels[name]).find(Boolean);
  }

  chart(name) {
    if (!this.charts.has(name)) {
      const box = el("div");
      const before = [...this.charts.keys()].find((other) => rank(other) > rank(name));
      const figure = el("figure", { "data-metric": name }, el("figcaption", { title: name }, this.label(name)), box);
      this.grid.insertBefore(figure, before ? this.grid.querySelector(`[data-metric="${CSS.escape(before)}"]`) : null);
      this.charts.set(name, new Chart(box, { height: 220, zoom: view.readRange("zoom"), onZoom: (range) => this.zoom(range) }));
    }
    return this.charts.get(name);
  }

  content(name) {
    const isAlone = this.runs.length === 1;
    const lines = this.runs.flatMap((run, at) =>
      SPLITS.filter((split) => run.metrics[name]?.[split]).map((split) => ({
        key: `${run.name}${split}`,
        label: `${run.name} ${split}`.trim(),
        ...run.metrics[name][split],
        width: split === "train" ? 1.5 : 2.5,
        scatter: !this.axes[view.read("x", "steps")],
        // Of several runs each has its colour, and training is dotted; a single run has a colour for each split.
        colour: lineStyle(isAlone ? SPLITS.indexOf(split) : at).colour,
        dash: !isAlone && split === "train" ? [2, 3] : [],
      })),
    );
    const x = view.read("x", "steps");
    const isMetric = !this.axes[x];
    const xLabel = isMetric ? (this.label(x) ?? x) : this.axes[x];
    const words = { title: this.label(name), xLabel, wholeX: x === "steps" };
    return { ...words, logX: view.isOn("logx"), logY: view.isOn("logy"), lines };
  }

  destroy() {
    for (const chart of this.charts.values()) chart.destroy();
  }
}

function rank(name) {
  const place = FIRST.indexOf(name);
  return place < 0 ? FIRST.length : place;
}
