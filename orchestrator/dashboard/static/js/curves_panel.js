// The curves of a sweep: mean and band by line (an arm, or all that share a setting), every seed on demand, live.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { faded, lineStyle, valueColours } from "./colours.js";
import { el, fill, oneAtATime, setText, throttled } from "./dom.js";
import { counted, number, setting, withoutClock } from "./format.js";
import * as view from "./view_state.js";

const DEFAULTS = { metric: "val_loss", x: "steps", best: "40" };
const BEST = [["10", "the best 10"], ["20", "the best 20"], ["40", "the best 40"], ["0", "the first 40"]];
const MOST_ARMS_ASKED = 600;
const MOST_NAMED = 6;
const REFRESH_MS = 1_500;
const SEEDS_REFRESH_MS = 3_000;

export class CurvesPanel {
  constructor(root, sweepId, { axes, signal, onMetric }) {
    Object.assign(this, { sweepId, axes, onMetric, arms: null, anew: oneAtATime(signal) });
    this.refresh = throttled(REFRESH_MS, () => this.load(), signal);
    this.refreshSeeds = throttled(SEEDS_REFRESH_MS, () => this.loadSeeds(), signal);
    this.note = el("p", { class: "faint note", role: "status" });
    this.bar = el("div", { class: "row" });
    const plot = el("div");
    fill(root, this.bar, plot, this.note);
    this.chart = new Chart(plot, {
      signal,
      hidden: view.read("hide").split(",").filter(Boolean),
      onHide: (keys) => view.write({ hide: keys.join(",") }),
      zoom: view.readRange("zoom"),
      onZoom: (range) => view.writeRange("zoom", range),
    });
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
      view.select(label, name, options, action, DEFAULTS[name]);
    const named = settings.map((name) => [name, name]);
    const joint = settings[0] === "sweep" ? [["settings", "arm, over sweeps"]] : [];
    const offered = [...new Set([...Object.keys(metrics), this.metric])].map((name) => [name, name]);
    const metricChosen = () => {
      this.askAnew();
      this.onMetric();
    };
    const xChosen = () => {
      this.chart.setZoom(null); // a stretch of another x
      this.askAnew();
    };
    fill(this.bar,
      ask("Metric", "metric", offered, metricChosen),
      ask("Over", "x", [...Object.entries(this.axes), ...Object.keys(metrics).map((name) => [name, name])], xChosen),
      view.smoothing(() => this.askAnew()),
      this.data.arms.size > 10 ? ask("Lines", "best", BEST) : null,
      settings.length > 1 ? ask("A line for each", "by", [["", "arm"], ...joint, ...named]) : null,
      settings.length ? ask("Colour by", "colour", [["", "line"], ...named], () => this.draw()) : null,
      view.check("log x", "logx", () => this.draw()),
      view.check("log y", "logy", () => this.draw()),
      view.check("every seed", "seeds", () => (view.isOn("seeds") ? this.loadSeeds() : this.draw())),
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

  /** Forget the answers: another question is asked from now on, and one to an older question is not shown. */
  reset() {
    this.question = this.anew();
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
    const { question } = this;
    if (!this.data || this.loading === question) return;
    this.loading = question;
    try {
      const answer = await get(`sweeps/${this.sweepId}/curves?${this.query({ since: this.since })}`, question);
      this.answer = answer;
      this.since = answer.version;
      for (const curve of answer.curves) this.curves.set(curve.line, curve);
      // One that has come among the best may have changed before: it is asked for next time.
      if (this.answer.lines.some((line) => !this.curves.has(line))) this.since = 0;
      this.draw();
      if (view.isOn("seeds") && !this.seeds) this.loadSeeds();
      if (answer.left) setTimeout(() => question.aborted || this.load(), 30);
    } catch (error) {
      if (!question.aborted) setText(this.note, `${error.message}. ${error.hint ?? ""}`);
    } finally {
      if (this.loading === question) this.loading = null;
    }
  }

  async loadSeeds() {
    const { question } = this;
    try {
      this.seeds = await get(`sweeps/${this.sweepId}/seeds?${this.query()}`, question);
      this.draw();
    } catch (error) {
      if (!question.aborted) setText(this.note, error.message);
    }
  }

  /** The curves to draw, in order, each with its colour and dash. */
  styled() {
    const shown = this.drawn;
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
    this.chart.draw(() => this.content());
    setText(this.note, this.notes().filter(Boolean).join(" "));
  }

  content() {
    const { metrics } = this.data;
    const { scatter, ...shared } = view.xAxis(this.axes, (x) => metrics[x]);
    const styled = this.styled();
    const seedsOf = Map.groupBy(this.shownSeeds?.curves ?? [], (seed) => seed.line);
    const single = styled
      .filter(({ curve }) => !this.chart.hidden.has(String(curve.line)))
      .flatMap(({ curve, colour }) =>
        (seedsOf.get(curve.line) ?? []).map(({ run, ...points }) => {
          const words = { key: `run ${run}`, label: `run ${run}`, quiet: true };
          return { ...words, ...points, scatter, colour: faded(colour, 0.45), width: 1 };
        }),
      );
    const means = styled.map(({ curve, colour, dash }) => {
      const hasBand = curve.seeds > 1 && !this.shownSeeds && curve.low.some((value) => value !== null);
      return {
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
        marks: curve.lost.filter(([, , hasDiverged, at]) => hasDiverged && at !== null).map(([, , , at, y]) => [at, y]),
      };
    });
    return {
      title: metrics[this.metric] ?? this.metric,
      ...shared,
      lines: [...single, ...means],
      empty: this.whyEmpty(),
    };
  }

  get shownSeeds() {
    return view.isOn("seeds") ? this.seeds : null;
  }

  get drawn() {
    return (this.answer?.lines ?? []).map((line) => this.curves.get(line)).filter(Boolean);
  }

  whyEmpty() {
    if (this.arms && !this.arms.length) return "No run passes the filter.";
    if (this.answer?.started === 0) return "No run has been started yet.";
    if (!this.answer || this.answer.left) return "Reading curves …";
    return [...this.lostNotes(), this.runsNote()].filter(Boolean).join(" ") || "No points yet.";
  }

  /** What a reader must know of what is drawn: what a band means, and whatever is not shown in full. */
  notes() {
    const { answer, drawn, shownSeeds } = this;
    const [, split] = /^(.+)_(loss|acc|pplx|bits_per_byte)$/.exec(this.metric) ?? [];
    const mixed = this.data.mixed_evaluations[split];
    const several = drawn.filter((curve) => curve.seeds > 1);
    const thinned = drawn.filter((curve) => curve.places > curve.x.length && !curve.cut);
    const most = Math.max(...thinned.map((curve) => curve.places));
    const placed = thinned.find((curve) => curve.places === most)?.x.length;
    const [shown, asked] = [answer?.lines.length, answer?.lines_asked];
    const which = this.chosen("best") === "0" ? "the first by number" : "those that end best";
    return [
      mixed && `The arms' evaluations read different text (${mixed}): their values can't be compared.`,
      answer?.left &&
        `Reading: ${counted(answer.left, "run")} of ${answer.started.toLocaleString("en-US")} still to come.`,
      several.length && this.meansNote(several),
      several.some((curve) => curve.cut) && "A line ends where its first run ended.",
      shown < asked && `${shown} of ${counted(asked, "line")} are drawn, ${which}: filter the runs to see others.`,
      thinned.length && `Thinned: means are drawn at ${placed} of ${counted(most, "point")}.`,
      ...(drawn.some((curve) => curve.x.length) ? [...this.lostNotes(), this.runsNote()] : []),
      ...(shownSeeds ? this.seedNotes(shownSeeds) : []),
    ];
  }

  meansNote(several) {
    if (!this.axes[this.chosen("x")])
      return "A dot is a step: the means of both metrics over the runs that recorded both there.";
    if (this.shownSeeds) return "Lines are means over runs, thin lines single runs.";
    const intervals = several.filter((curve) => curve.interval).length;
    const some = intervals < several.length ? " from 5 runs on, else their range" : "";
    return `Lines are means over runs, bands the ${intervals ? `95 % interval of the mean${some}` : "range of the runs"}.`;
  }

  runsNote() {
    const { without_clock: without = [], repeated = 0 } = this.answer ?? {};
    const again = repeated ? `${counted(repeated, "run")} left out: of one arm and seed, only the newest run counts. ` : "";
    return again + withoutClock(without.length, "run");
  }

  seedNotes({ runs_shown: shown, runs_asked: asked, curves }) {
    const thinned = curves.filter((curve) => curve.places > curve.x.length);
    const [{ x, places } = {}] = thinned;
    return [
      shown < asked && `${shown} of ${counted(asked, "run")} are drawn, the first seeds of each arm.`,
      x &&
        `Thinned: ${counted(thinned.length, "run")} to the least and greatest value of each stretch, ` +
          `${x.length} of ${places} points.`,
    ];
  }

  /** Which runs diverged or have no value, by name, and where. */
  lostNotes() {
    const lost = this.drawn.flatMap((curve) => curve.lost).sort(([a], [b]) => a - b);
    const name = ([id, seed, , x]) => {
      const run = this.data.runs.get(id);
      const arm = run && this.data.arm(run)?.label;
      return `run ${id} (${[arm, `seed ${seed}`].filter(Boolean).join(", ")}${x === null ? "" : `, at ${number(x)}`})`;
    };
    const tell = (runs, what) => {
      const named = runs.slice(0, MOST_NAMED).map(name).join(", ");
      const more = runs.length > MOST_NAMED ? ` and ${runs.length - MOST_NAMED} more` : "";
      return runs.length ? [`${counted(runs.length, "run")} ${what}: ${named}${more}.`] : [];
    };
    return [
      ...tell(lost.filter(([, , hasDiverged]) => hasDiverged), "diverged (× where they ended)"),
      ...tell(lost.filter(([, , hasDiverged]) => !hasDiverged), `ended without a finite ${this.metric}`),
    ];
  }
}
