// The curves of a sweep: mean and band by line (an arm, or all that share a setting), every seed on demand, live.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { faded, lineStyle, onThemeChange, valueColours } from "./colours.js";
import { el, fill, labelledCheck, labelledSelect, setOptions, setText, smoothingSelect, throttled } from "./dom.js";
import { counted, number, setting, withoutClock } from "./format.js";
import * as view from "./view_state.js";

const DEFAULTS = { metric: "val_loss", x: "steps", best: "40" };
const BEST = [["10", "the best 10"], ["20", "the best 20"], ["40", "the best 40"], ["0", "the first 40"]];
const MOST_ARMS_ASKED = 600;
const MOST_NAMED = 6;
const REFRESH_MS = 1_500;
const SEEDS_REFRESH_MS = 3_000;

export class CurvesPanel {
  constructor(root, sweepId, { axes, onMetric }) {
    Object.assign(this, { sweepId, axes, onMetric, arms: null });
    this.refresh = throttled(REFRESH_MS, () => this.load());
    this.refreshSeeds = throttled(SEEDS_REFRESH_MS, () => this.loadSeeds());
    this.redraw = throttled(60, () => this.draw());
    this.note = el("p", { class: "faint note", role: "status" });
    this.bar = el("div", { class: "row chart-controls" });
    const plot = el("div");
    fill(root, this.bar, plot, this.note);
    const hidden = view.read("hide").split(",").filter(Boolean);
    this.chart = new Chart(plot, {
      hidden,
      onHide: (keys) => view.write({ hide: keys.join(",") }),
      zoom: view.readRange("zoom"),
      onZoom: (range) => view.writeRange("zoom", range),
    });
    this.unTheme = onThemeChange(() => this.draw());
    this.reset();
  }

  get metric() {
    return this.chosen("metric");
  }

  chosen(name) {
    return view.read(name, DEFAULTS[name] ?? "");
  }

  /** The controls; built once the settings are known. */
  drawControls() {
    const { settings, metrics } = this.data;
    const ask = (label, name, options, action = () => this.askAnew()) =>
      labelledSelect(label, options, this.chosen(name), (value) => {
        view.write({ [name]: value }, DEFAULTS);
        action();
      });
    const check = (label, name, action = () => this.redraw()) =>
      labelledCheck(label, view.isOn(name), (isOn) => {
        view.write({ [name]: isOn });
        action();
      }).root;
    const named = settings.map((name) => [name, name]);
    const joint = settings[0] === "sweep" ? [["settings", "arm, over sweeps"]] : [];
    this.metricField = ask("Metric", "metric", named, () => {
      this.askAnew();
      this.onMetric();
    });
    this.offer(metrics);
    fill(this.bar,
      this.metricField.root,
      ask("Over", "x", [...Object.entries(this.axes), ...Object.keys(metrics).map((name) => [name, name])], () => {
        this.chart.setZoom(null); // a stretch of another x
        this.askAnew();
      }).root,
      smoothingSelect(() => this.askAnew()),
      this.data.arms.size > 10 ? ask("Lines", "best", BEST).root : null,
      settings.length > 1 ? ask("A line for each", "by", [["", "arm"], ...joint, ...named]).root : null,
      settings.length ? ask("Colour by", "colour", [["", "line"], ...named], () => this.redraw()).root : null,
      check("log x", "logx"),
      check("log y", "logy"),
      check("every seed", "seeds", () => (view.isOn("seeds") ? this.loadSeeds() : this.redraw())),
    );
  }

  /** Show the arms of `data`; `arms` narrows them (null: all). */
  show(data, arms) {
    const isOther = arms?.join(",") !== this.arms?.join(",");
    const isNew = this.data !== data;
    [this.data, this.arms] = [data, arms];
    if (isNew) this.drawControls();
    if (isOther) this.reset();
    this.refresh();
    if (view.isOn("seeds")) this.refreshSeeds();
  }

  offer(metrics) {
    const names = [...new Set([...Object.keys(metrics), this.metric])];
    setOptions(this.metricField.select, names.map((name) => [name, name]), this.metric);
  }

  reset() {
    this.question = {};
    this.since = 0;
    this.curves = new Map();
    this.seeds = null;
    this.answer = null;
  }

  askAnew() {
    this.reset();
    this.load();
  }

  query(extra = {}) {
    const [metric, x, by, best] = ["metric", "x", "by", "best"].map((name) => this.chosen(name));
    const asked = new URLSearchParams({ metric, x, by, best, smooth: view.readWeight("smooth"), ...extra });
    // An address has its limits.
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
      for (const curve of answer.curves) this.curves.set(curve.line, curve);
      // One that has come among the best may have changed before: it is asked for next time.
      if (this.answer.lines.some((line) => !this.curves.has(line))) this.since = 0;
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

  /** The curves to draw, in order, each with its colour and dash. */
  styled() {
    const shown = (this.answer?.lines ?? []).map((line) => this.curves.get(line)).filter(Boolean);
    const every = [...this.data.arms.keys()];
    const colour = this.data.settings.indexOf(this.chosen("colour"));
    const value = (line) => this.data.arms.get(line)?.values[colour];
    const colourOf = colour < 0 ? null : valueColours(shown.map((curve) => value(curve.line)));
    return shown.map((curve, at) => {
      // Few arms keep their colours, whatever the filter.
      const style = lineStyle(every.length > 40 || this.chosen("by") ? at : every.indexOf(curve.line));
      return { curve, ...style, ...(colourOf && { colour: colourOf(value(curve.line)), dash: [] }) };
    });
  }

  label({ line, lost, seeds }) {
    const arm = this.data.arms.get(line);
    const by = this.data.settings.indexOf(this.chosen("by"));
    const own = this.chosen("by") === "settings" ? arm?.label.replace(/^sweep \d+(, )?/, "") || "the one arm" : arm?.label;
    const name = by < 0 ? (own ?? `arm ${line}`) : `${this.data.settings[by]} ${setting(arm?.values[by])}`;
    const diverged = lost.filter(([, , hasDiverged]) => hasDiverged).length;
    const all = Math.max(seeds, lost.length);
    return diverged ? `${name} · ${all > 1 ? `${diverged} of ${all} ` : ""}diverged` : name;
  }

  draw() {
    if (!this.data) return;
    const showsSeeds = view.isOn("seeds") && this.seeds;
    const styled = this.styled();
    const lines = [];
    const scatter = !this.axes[this.chosen("x")]; // another metric, which may fall and rise
    const seedsOf = showsSeeds ? Map.groupBy(this.seeds.curves, (seed) => seed.line) : new Map();
    for (const { curve, colour } of styled) {
      if (this.chart.hidden.has(String(curve.line))) continue;
      for (const { run, x, y } of seedsOf.get(curve.line) ?? []) {
        const words = { key: `run ${run}`, label: `run ${run}`, quiet: true };
        lines.push({ ...words, x, y, scatter, colour: faded(colour, 0.45), width: 1 });
      }
    }
    for (const { curve, colour, dash } of styled) {
      const hasBand = curve.seeds > 1 && !showsSeeds && curve.low.some((value) => value !== null);
      lines.push({
        key: String(curve.line),
        label: this.label(curve),
        x: curve.x,
        y: curve.mean,
        low: hasBand ? curve.low : null,
        high: hasBand ? curve.high : null,
        runs: curve.runs,
        last: curve.last,
        scatter,
        colour,
        dash,
        width: 2,
        marks: curve.lost.filter(([, , hasDiverged, x]) => hasDiverged && x !== null).map(([, , , x, y]) => [x, y]),
      });
    }
    this.chart.draw({
      title: this.data.metrics[this.metric] ?? this.metric,
      xLabel: this.axes[this.chosen("x")] ?? this.data.metrics[this.chosen("x")] ?? this.chosen("x"),
      wholeX: this.chosen("x") === "steps",
      logX: view.isOn("logx"),
      logY: view.isOn("logy"),
      lines,
      empty: this.whyEmpty(styled),
    });
    setText(this.note, this.notes(styled, showsSeeds).filter(Boolean).join(" "));
  }

  whyEmpty(styled) {
    if (this.arms && !this.arms.length) return "No run passes the filter.";
    if (this.answer?.started === 0) return "No run has been started yet.";
    if (!this.answer || this.answer.left) return "Reading curves …";
    return [...lostNotes(styled, this.metric, this.data), this.clockNote()].filter(Boolean).join(" ") || "No points yet.";
  }

  /** What a reader must know of what is drawn: what a band means, and whatever is not shown in full. */
  notes(styled, showsSeeds) {
    const found = [];
    const curves = styled.map((one) => one.curve);
    const mixed = /_(loss|acc|pplx|bits_per_byte)$/.test(this.metric) && this.data.mixedEvaluations[this.metric.split("_")[0]];
    if (mixed) found.push(`The arms' evaluations read different text (${mixed}): their values can't be compared.`);
    if (this.answer?.left)
      found.push(
        `Reading: ${counted(this.answer.left, "run")} of ${this.answer.started.toLocaleString("en-US")} still to come.`,
      );
    const several = curves.filter((curve) => curve.seeds > 1);
    if (several.length) {
      const intervals = several.filter((curve) => curve.interval).length;
      const band =
        intervals === several.length
          ? "95 % interval of the mean"
          : intervals
            ? "95 % interval of the mean from 5 runs on, else their range"
            : "range of the runs";
      const besides = showsSeeds ? ", thin lines single runs" : `, bands the ${band}`;
      if (this.axes[this.chosen("x")]) found.push(`Lines are means over runs${besides}.`);
      else found.push("A dot is a step: the means of both metrics over the runs that recorded both there.");
    }
    if (several.some((curve) => curve.cut)) found.push("A line ends where its first run ended.");
    if (this.answer && this.answer.lines.length < this.answer.lines_asked) {
      const which = this.chosen("best") === "0" ? "first by number" : `best at their ends`;
      found.push(
        `${this.answer.lines.length} of ${counted(this.answer.lines_asked, "line")} are drawn, the ${which}: filter the runs to see others.`,
      );
    }
    const thinned = curves.filter((curve) => curve.places > curve.x.length && !curve.cut);
    if (thinned.length) {
      const most = thinned.reduce((a, b) => (a.places > b.places ? a : b));
      found.push(`Thinned: means are drawn at ${most.x.length} of ${counted(most.places, "point")}.`);
    }
    if (curves.some((curve) => curve.x.length)) found.push(...lostNotes(styled, this.metric, this.data), this.clockNote());
    if (showsSeeds) found.push(...this.seedNotes());
    return found;
  }

  clockNote() {
    return withoutClock(this.answer?.without_clock?.length ?? 0, "run");
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

/** Which runs diverged or have no value, by name, and where. */
function lostNotes(styled, metric, data) {
  const lost = styled.flatMap(({ curve }) => curve.lost).sort(([a], [b]) => a - b);
  const name = ([id, seed, , x]) => {
    const run = data.runs.get(id);
    const arm = run && data.arm(run)?.label;
    return `run ${id} (${[arm, `seed ${seed}`].filter(Boolean).join(", ")}${x === null ? "" : `, at ${number(x)}`})`;
  };
  const tell = (runs, what) =>
    runs.length
      ? [
          `${counted(runs.length, "run")} ${what}: ${runs.slice(0, MOST_NAMED).map(name).join(", ")}${runs.length > MOST_NAMED ? ` and ${runs.length - MOST_NAMED} more` : ""}.`,
        ]
      : [];
  return [
    ...tell(lost.filter(([, , hasDiverged]) => hasDiverged), "diverged (× where they ended)"),
    ...tell(lost.filter(([, , hasDiverged]) => !hasDiverged), `ended without a finite ${metric}`),
  ];
}
