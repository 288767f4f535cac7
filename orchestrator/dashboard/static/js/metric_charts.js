// A chart for each metric of one run or of several, with what all of them share: x, smoothing, logarithms.

import { get } from "./api.js";
import { captionedChart } from "./chart.js";
import { lineStyle } from "./colours.js";
import { el, fill, setOptions, setText } from "./dom.js";
import { counted, withoutClock } from "./format.js";
import * as view from "./view_state.js";

const FIRST = ["loss", "acc", "pplx", "bits_per_byte", "grad_norm", "lr"];
const SPLITS = ["train", "val", "test"];

/** `root` has the controls and the charts of `runs`, which are { id, name }; a single run's name is empty. */
export class MetricCharts {
  constructor(runs, axes, signal) {
    Object.assign(this, { asked: runs, axes, signal, runs: [] });
    this.figures = new Map();
    this.grid = el("div", { class: "figures" });
    this.note = el("p", { class: "faint note", role: "status" });
    const anew = () => {
      this.zoom(null); // a stretch of another x
      this.load();
    };
    this.over = view.select("Over", "x", Object.entries(axes), anew, "steps");
    const bar = el("div", { class: "row" },
      this.over,
      view.smoothing(() => this.load()),
      view.check("log x", "logx", () => this.draw()),
      view.check("log y", "logy", () => this.draw()),
    );
    this.root = el("div", {}, bar, this.grid, this.note);
  }

  /** Ask for the curves and draw them; resolves to the answer's status, as ApiError has it. */
  async load() {
    const query = new URLSearchParams({ x: view.read("x", "steps"), smooth: view.readWeight("smooth") });
    try {
      const answers = await Promise.all(this.asked.map(({ id }) => get(`runs/${id}/curves?${query}`, this.signal)));
      this.runs = answers.map((answer, at) => ({ ...answer, ...this.asked[at] }));
      this.draw();
      setText(this.note, this.notes().filter(Boolean).join(" "));
      return 200;
    } catch (error) {
      setText(this.note, `${error.message}. ${error.hint ?? ""}`);
      return error.status;
    }
  }

  draw() {
    const names = [...new Set(this.runs.flatMap((run) => Object.keys(run.metrics)))];
    names.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
    const options = [...Object.entries(this.axes), ...names.map((name) => [name, this.label(name)])];
    const { control } = this.over;
    if (control.length !== options.length) setOptions(control, options, view.read("x", "steps"));
    const added = names.filter((name) => !this.figures.has(name));
    for (const name of added) this.figures.set(name, this.figure(name));
    if (added.length || this.grid.childElementCount !== names.length) fill(this.grid, names.map((name) => this.figures.get(name).figure));
    for (const name of names) this.figures.get(name).chart.draw(() => this.content(name));
  }

  /** What a reader must know of what is drawn. */
  notes() {
    const most = Math.max(...this.runs.map((run) => run.points));
    const { most_shown: shown } = this.runs[0];
    const bad = this.runs.flatMap((run) =>
      Object.entries(run.metrics).flatMap(([name, curves]) =>
        Object.entries(curves)
          .filter(([, curve]) => curve.not_finite)
          .map(([split, curve]) => `${run.name} ${split} ${name}: ${curve.not_finite}`.trim()),
      ),
    );
    return [
      this.runs.every((run) => !Object.keys(run.metrics).length) && "No points yet.",
      most > shown &&
        `Thinned: the least and greatest value of each stretch is drawn, up to ${shown} of ${counted(most, "point")}.`,
      withoutClock(this.runs.reduce((sum, run) => sum + run.without_clock, 0), "point"),
      bad.length && `Values that are nan or infinite are not drawn (${bad.join(", ")}).`,
    ];
  }

  /** All charts show the same stretch of x. */
  zoom(range) {
    view.writeRange("zoom", range);
    for (const { chart } of this.figures.values()) chart.showZoom(range);
  }

  label(name) {
    return this.runs.map((run) => run.labels[name]).find(Boolean);
  }

  figure(name) {
    const options = { height: 220, zoom: view.readRange("zoom"), onZoom: (range) => this.zoom(range) };
    const found = captionedChart(this.label(name), { signal: this.signal, ...options });
    found.figure.dataset.metric = found.figure.firstChild.title = name;
    return found;
  }

  content(name) {
    const isAlone = this.runs.length === 1;
    const { scatter, ...shared } = view.xAxis(this.axes, (x) => this.label(x));
    const lines = this.runs.flatMap((run, at) =>
      SPLITS.filter((split) => run.metrics[name]?.[split]).map((split) => ({
        key: `${run.name}${split}`,
        label: `${run.name} ${split}`.trim(),
        ...run.metrics[name][split],
        width: split === "train" ? 1.5 : 2.5,
        scatter,
        // Of several runs each has its colour, and training is dotted; a single run has a colour for each split.
        colour: lineStyle(isAlone ? SPLITS.indexOf(split) : at).colour,
        dash: !isAlone && split === "train" ? [2, 3] : [],
      })),
    );
    return { title: this.label(name), ...shared, lines };
  }
}

function rank(name) {
  const place = FIRST.indexOf(name);
  return place < 0 ? FIRST.length : place;
}
