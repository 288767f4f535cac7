// The curves of a sweep: mean and band by arm, every seed on demand, live.

import { get } from "./api.js";
import { Chart, smoothed } from "./chart.js";
import { faded, lineStyle, onThemeChange } from "./colours.js";
import { el, fill, labelledCheck, labelledSelect, setOptions, setText, throttled } from "./dom.js";
import { counted, percent } from "./format.js";
import * as view from "./view_state.js";

const AXES = [
  ["steps", "steps"],
  ["tokens", "tokens"],
  ["epochs", "epochs"],
  ["seconds", "training seconds"],
  ["flops", "training FLOPs"],
];
const DEFAULTS = { metric: "val_loss", x: "steps", smooth: 0 };
const MOST_ARMS_ASKED = 100;
const REFRESH_MS = 1_500;
const SEEDS_REFRESH_MS = 3_000;

export class CurvesPanel {
  constructor(root, sweepId, { onMetric }) {
    this.sweepId = sweepId;
    this.onMetric = onMetric;
    this.metric = view.read("metric", DEFAULTS.metric);
    this.axis = view.read("x", DEFAULTS.x);
    this.smooth = view.readWeight("smooth");
    this.curves = new Map();
    this.seeds = null;
    this.arms = null;
    this.refresh = throttled(REFRESH_MS, () => this.load());
    this.refreshSeeds = throttled(SEEDS_REFRESH_MS, () => this.loadSeeds());
    this.redraw = throttled(60, () => this.draw());
    this.note = el("p", { class: "faint note", role: "status" });
    const plot = el("div");
    fill(root, this.controls(), plot, this.note);
    const hidden = view.read("hide").split(",").filter(Boolean);
    this.chart = new Chart(plot, { hidden, onHide: (keys) => view.write({ hide: keys.join(",") }) });
    this.unTheme = onThemeChange(() => this.draw());
    this.reset();
  }

  controls() {
    this.metricField = labelledSelect("Metric", [[this.metric, this.metric]], this.metric, (value) => {
      this.metric = value;
      view.write({ metric: value }, DEFAULTS);
      this.reset();
      this.load();
      this.onMetric(value);
    });
    const axis = labelledSelect("Over", AXES, this.axis, (value) => {
      this.axis = value;
      view.write({ x: value }, DEFAULTS);
      this.reset();
      this.load();
    });
    // Not an <output>: that could be what the label is of.
    const shownWeight = el("span", {}, percent(this.smooth));
    const slider = el("input", {
      type: "range",
      min: "0",
      max: "0.98",
      step: "0.02",
      value: this.smooth,
      "aria-valuetext": percent(this.smooth),
      on: {
        input: () => {
          this.smooth = Number(slider.value);
          setText(shownWeight, percent(this.smooth));
          slider.setAttribute("aria-valuetext", percent(this.smooth));
          view.write({ smooth: this.smooth }, DEFAULTS);
          this.redraw();
        },
      },
    });
    const check = (label, name, action) =>
      labelledCheck(label, view.isOn(name), (isOn) => {
        view.write({ [name]: isOn });
        action();
      }).root;
    return el(
      "div",
      { class: "row chart-controls" },
      this.metricField.root,
      axis.root,
      el("label", { class: "field" }, el("span", {}, "Smoothing ", shownWeight), slider),
      check("log x", "logx", () => this.redraw()),
      check("log y", "logy", () => this.redraw()),
      check("every seed", "seeds", () => (view.isOn("seeds") ? this.loadSeeds() : this.redraw())),
    );
  }

  /** Show the arms of `data`; `arms` narrows them (null: all). */
  show(data, arms) {
    this.data = data;
    this.offer(data.metrics);
    const key = arms && arms.join(",");
    const isOther = key !== this.armsKey;
    this.arms = arms;
    this.armsKey = key;
    if (isOther) this.reset();
    this.refresh();
    if (view.isOn("seeds")) this.refreshSeeds();
  }

  /** Offer metrics; a list that is open is left alone where nothing is new. */
  offer(metrics) {
    const names = metrics.includes(this.metric) ? metrics : [this.metric, ...metrics];
    const offered = [...this.metricField.select.options].map((option) => option.value);
    if (names.length === offered.length && names.every((name, at) => name === offered[at])) return;
    setOptions(
      this.metricField.select,
      names.map((name) => [name, name]),
      this.metric,
    );
  }

  reset() {
    this.question = {};
    this.since = 0;
    this.curves = new Map();
    this.seeds = null;
    this.answer = null;
  }

  query(extra = {}) {
    const asked = new URLSearchParams({ metric: this.metric, x: this.axis, ...extra });
    // No more than are drawn, and then some: an address has its limits.
    if (this.arms) asked.set("arms", this.arms.slice(0, MOST_ARMS_ASKED).join(","));
    return asked;
  }

  async load() {
    if (!this.data || !this.question || this.isLoading) return;
    // The reader may ask for something else meanwhile: an answer to an older question is not shown.
    const question = this.question;
    this.isLoading = true;
    try {
      const answer = await get(`sweeps/${this.sweepId}/curves?${this.query({ since: this.since })}`);
      if (question !== this.question) return;
      this.answer = answer;
      this.since = answer.version;
      for (const curve of answer.curves) this.curves.set(curve.arm, curve);
      this.draw();
      if (view.isOn("seeds") && !this.seeds) this.loadSeeds();
    } catch (error) {
      if (question === this.question) setText(this.note, `${error.message}. ${error.hint ?? ""}`);
    } finally {
      this.isLoading = false;
      if (this.question && question !== this.question) this.load();
      else if (this.question && this.answer?.left) setTimeout(() => this.load(), 30);
    }
  }

  async loadSeeds() {
    const question = this.question;
    try {
      const answer = await get(`sweeps/${this.sweepId}/seeds?${this.query()}`);
      if (question !== this.question) return;
      this.seeds = answer;
      this.draw();
    } catch (error) {
      setText(this.note, error.message);
    }
  }

  draw() {
    if (!this.data) return;
    const showsSeeds = view.isOn("seeds") && this.seeds;
    const order = [...this.data.arms.keys()];
    const lines = [];
    const styles = new Map(order.map((arm, place) => [arm, lineStyle(place)]));
    if (showsSeeds) {
      for (const curve of this.seeds.curves) {
        if (this.chart.hidden.has(String(curve.arm))) continue;
        const colour = faded(styles.get(curve.arm).colour, 0.45);
        lines.push({
          key: `run ${curve.run}`,
          label: `run ${curve.run}`,
          quiet: true,
          x: curve.x,
          y: smoothed(curve.y, this.smooth),
          colour,
          width: 1,
        });
      }
    }
    for (const arm of order) {
      const curve = this.curves.get(arm);
      if (!curve) continue;
      const { colour, dash } = styles.get(arm);
      const hasBand = !showsSeeds && curve.low.some((value) => value !== null);
      lines.push({
        key: String(arm),
        label: this.data.arms.get(arm).label,
        x: curve.x,
        colour,
        dash,
        width: 2,
        y: smoothed(curve.mean, this.smooth),
        low: hasBand ? smoothed(curve.low, this.smooth) : null,
        high: hasBand ? smoothed(curve.high, this.smooth) : null,
        runs: curve.runs,
      });
    }
    const xLabel = AXES.find(([key]) => key === this.axis)?.[1] ?? this.axis;
    const content = { title: this.metric, xLabel, logX: view.isOn("logx"), logY: view.isOn("logy"), lines };
    if (this.answer?.started === 0) content.empty = "No run has been started yet.";
    else if (this.answer?.left) content.empty = "Reading curves …";
    this.chart.draw(content);
    setText(this.note, this.notes(showsSeeds).join(" "));
  }

  /** What a reader must know of what is drawn: what a band means, and whatever is not shown in full. */
  notes(showsSeeds) {
    const found = [];
    const curves = [...this.curves.values()];
    const mixed = /_(loss|acc|pplx|bits_per_byte)$/.test(this.metric) && this.data.mixedEvaluations[this.metric.split("_")[0]];
    if (mixed) found.push(`The arms' evaluations read different text (${mixed}): their values can't be compared.`);
    if (this.answer?.left)
      found.push(
        `Reading: ${counted(this.answer.left, "run")} of ${this.answer.started.toLocaleString("en-US")} still to come.`,
      );
    if (curves.some((curve) => curve.seeds > 1)) {
      const intervals = curves.filter((curve) => curve.interval).length;
      const band =
        intervals === curves.length
          ? "95 % interval of the mean"
          : intervals
            ? "95 % interval of the mean from 5 seeds on, else the range"
            : "range of the seeds";
      found.push(
        `Lines are means over the seeds that got there${showsSeeds ? ", thin lines single runs" : `, bands the ${band}`}.`,
      );
    }
    if (curves.some((curve) => curve.uneven)) {
      found.push("Seeds end at different places here: the last stretch, which not all of them reach, is left out.");
    }
    const armsAsked = this.arms?.length ?? this.answer?.arms_asked;
    if (this.answer && this.answer.arms_shown < armsAsked) {
      found.push(
        `${this.answer.arms_shown} of ${counted(armsAsked, "arm")} are drawn, the first by number: filter the runs to see others.`,
      );
    }
    const thinned = curves.filter((curve) => curve.places > curve.x.length);
    if (thinned.length) {
      const most = thinned.reduce((a, b) => (a.places > b.places ? a : b));
      found.push(`Thinned: means are drawn at ${most.x.length} of ${counted(most.places, "point")}.`);
    }
    if (showsSeeds) found.push(...this.seedNotes());
    return found;
  }

  seedNotes() {
    const found = [];
    const { runs_shown: shown, runs_asked: asked, curves } = this.seeds;
    if (shown < asked) found.push(`${shown} of ${counted(asked, "run")} are drawn, the first seeds of each arm.`);
    const thinned = curves.filter((curve) => curve.places > curve.x.length);
    if (thinned.length)
      found.push(
        `Thinned: ${counted(thinned.length, "run")} to the least and greatest value of each stretch, ${thinned[0].x.length} of ${thinned[0].places} points.`,
      );
    const diverged = curves.filter((curve) => curve.diverged).length;
    if (diverged) found.push(`${counted(diverged, "run")} ended in nan or infinity, which is not drawn.`);
    return found;
  }

  destroy() {
    this.question = null;
    this.refresh.stop();
    this.refreshSeeds.stop();
    this.redraw.stop();
    this.unTheme();
    this.chart.destroy();
  }
}
