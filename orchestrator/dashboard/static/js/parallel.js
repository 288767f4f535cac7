// Parallel coordinates: each run a line through its settings to its newest value of the metric.

import { path } from "./chart_figure.js";
import { scaleColour, themed } from "./colours.js";
import { el, fill, setText } from "./dom.js";
import { counted, divergedNote, inOrder, logTicks, niceTicks, number, setting } from "./format.js";
import { saveMenu } from "./saving.js";

const HEIGHT = 300;
const TOP = 34;
const BOTTOM = 22;
const SIDE = 56;
const MOST_LABELS = 9;

/** Draws into `root`; a stretch dragged along an axis keeps the runs within it coloured. */
export class ParallelCoordinates {
  /** `onBrush(axis, wanted)` hears what was picked along an axis, as conditions such as `>=2`; null after a double click. */
  constructor(root, signal, onBrush) {
    this.onBrush = onBrush;
    this.canvas = el("canvas", {
      role: "img",
      on: {
        pointerdown: (event) => this.begin(event),
        pointermove: (event) => this.drag(event),
        pointerup: () => this.pick(),
        pointercancel: () => (this.brush = null),
        dblclick: () => this.onBrush(null),
      },
    });
    this.told = el("p", { class: "faint" });
    this.box = el("div", { class: "parallel", tabindex: "0", role: "region", "aria-label": "Parallel coordinates" },
      this.canvas,
    );
    fill(root, this.box, saveMenu(() => this.figure()), this.told);
    this.brush = null; // while one drags: { at, from, to }, an axis and two heights
    const resizing = new ResizeObserver(() => this.draw());
    resizing.observe(this.box);
    signal.addEventListener("abort", () => resizing.disconnect());
    document.addEventListener("themechange", () => this.draw(), { signal });
  }

  /** `settings` and `metric` are { title, values } with a value a run; the metric, which gives the colour, is null for
   * runs that diverged. `leftOut` says which have no part in this. */
  show({ settings, metric, runs, leftOut }) {
    Object.assign(this, { runs, leftOut });
    const finite = metric.values.filter((value) => value !== null);
    const { share, ticks } = scaled({ values: finite });
    this.axes = [
      ...settings.map((axis) => ({ ...scaled(axis), hasNone: true })),
      { ...metric, share, ticks, isNumeric: true },
    ];
    // By rank: a single bad run would leave one hue to all others.
    const order = inOrder(finite);
    this.rank = new Map(order.map((value, at) => [value, order.length > 1 ? at / (order.length - 1) : 0]));
    this.draw();
  }

  draw() {
    if (!this.axes) return;
    const width = Math.max(this.box.clientWidth, this.axes.length * 90);
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = width * ratio;
    this.canvas.height = HEIGHT * ratio;
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${HEIGHT}px`;
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    this.width = width;
    this.place = (at) =>
      this.axes.length === 1 ? width / 2 : SIDE + (at * (width - 2 * SIDE)) / (this.axes.length - 1);
    this.paint(pen);
    const metric = this.axes.at(-1);
    const lost = this.runs.filter((_, at) => metric.values[at] === null);
    const total = metric.values.length;
    this.canvas.setAttribute("aria-label", `${counted(total, "run")} over ${this.axes.map((axis) => axis.title).join(", ")}`);
    const measured = this.brush ? `${this.chosen().length} of ${counted(total, "run")}` : counted(total - lost.length, "run");
    const drawn = total ? `${measured} with a ${metric.title}.` : `No run has a ${metric.title} yet.`;
    const others = divergedNote(lost, "dashed, above the axis") + this.leftOut;
    setText(this.told, `${drawn}${others} Drag along an axis to filter by it, double-click to clear that.`);
  }

  paint(pen) {
    this.drawRuns(pen);
    this.axes.forEach((axis, at) => this.drawAxis(pen, axis, at));
  }

  figure() {
    if (!this.axes) return null;
    const titles = this.axes.map((axis) => axis.title);
    const rows = this.runs.map((run, at) => [run, ...this.axes.map((axis) => axis.values[at])]);
    const size = { width: this.width, height: HEIGHT };
    const name = `Parallel coordinates ${titles.at(-1)}`;
    return { name, ...size, draw: (pen) => this.paint(pen), rows: [["run", ...titles], ...rows] };
  }

  drawRuns(pen) {
    const metric = this.axes.at(-1);
    const opacity = (runs, most) => Math.min(most, Math.max(0.06, 40 / Math.max(runs, 1)));
    const line = (run) => path(pen, this.axes.map((axis, at) => [this.place(at), height(axis, run)])).stroke();
    if (this.brush) {
      pen.lineWidth = 1;
      pen.strokeStyle = themed("--grid");
      pen.globalAlpha = opacity(this.runs.length / 2, 1);
      for (const run of this.runs.keys()) line(run);
    }
    const chosen = this.chosen();
    pen.lineWidth = 1.4;
    pen.globalAlpha = opacity(chosen.length, 0.85);
    for (const run of chosen) {
      const value = metric.values[run];
      pen.strokeStyle = value === null ? themed("--bad") : scaleColour(this.rank.get(value));
      pen.setLineDash(value === null ? [4, 4] : []);
      line(run);
    }
    pen.setLineDash([]);
    pen.globalAlpha = 1;
  }

  drawAxis(pen, axis, at) {
    const x = this.place(at);
    Object.assign(pen, { strokeStyle: themed("--faint"), fillStyle: themed("--text"), lineWidth: 1 });
    path(pen, [[x, TOP], [x, HEIGHT - BOTTOM]]).stroke();
    pen.font = "600 12px system-ui, sans-serif";
    const isLast = at === this.axes.length - 1;
    pen.textAlign = isLast ? "right" : "center";
    // The metric's name is long: others make room for it.
    const isNarrow = this.width / this.axes.length < 220;
    pen.fillText(axis.title, isLast ? x + SIDE - 4 : x, isNarrow && !isLast ? 28 : 14);
    pen.font = "11px system-ui, sans-serif";
    pen.textAlign = isLast ? "right" : "left";
    let before = Infinity;
    for (const tick of axis.ticks) {
      const y = HEIGHT - BOTTOM - axis.share(tick.value) * (HEIGHT - TOP - BOTTOM);
      if (before - y < 12) continue;
      before = y;
      Object.assign(pen, { strokeStyle: themed("--page"), lineWidth: 3 });
      pen.strokeText(tick.text, x + (isLast ? -6 : 6), y + 4, 90);
      pen.fillText(tick.text, x + (isLast ? -6 : 6), y + 4, 90);
    }
    if (this.brush?.at !== at) return;
    const { from, to } = this.brush;
    pen.fillStyle = themed("--brush");
    pen.fillRect(x - 7, Math.min(from, to), 14, Math.abs(from - to));
  }

  /** The places of the runs that pass through the brush, of all if there is none. */
  chosen() {
    const every = [...this.runs.keys()];
    if (!this.brush) return every;
    const { at, from, to } = this.brush;
    const [low, high] = [Math.min(from, to) - 2, Math.max(from, to) + 2];
    return every.filter((run) => height(this.axes[at], run) >= low && height(this.axes[at], run) <= high);
  }

  begin({ offsetX, offsetY, pointerId }) {
    const at = this.axes.findIndex((_, place) => Math.abs(this.place(place) - offsetX) < 16);
    if (at < 0) return;
    this.canvas.setPointerCapture(pointerId);
    this.brush = { at, from: offsetY, to: offsetY };
  }

  drag({ offsetY }) {
    if (!this.brush) return;
    this.brush.to = Math.min(Math.max(offsetY, TOP), HEIGHT - BOTTOM);
    this.draw();
  }

  /** What was picked becomes a condition: the table and the curves follow. */
  pick() {
    if (!this.brush) return;
    const { at } = this.brush;
    const { values, isNumeric } = this.axes[at];
    const picked = this.chosen().map((run) => values[run]).filter((value) => value !== null);
    this.brush = null;
    const words = [...new Set(picked.map(setting))];
    const isRange = isNumeric && words.length > 1;
    if (!picked.length) this.draw();
    else this.onBrush(at, isRange ? [`>=${Math.min(...picked)}`, `<=${Math.max(...picked)}`] : [`=${words.join("|")}`]);
  }
}

function height(axis, run) {
  if (axis.values[run] === null && !axis.hasNone) return TOP - 12;
  return HEIGHT - BOTTOM - axis.share(axis.values[run]) * (HEIGHT - TOP - BOTTOM);
}

/** An axis with `share(value)` from 0 to 1: numbers by size (by their logarithm where they span decades), words in order. */
function scaled({ title, values }) {
  const order = inOrder(values);
  if (order.every((value) => typeof value === "number")) {
    const [low, high] = [order[0], order.at(-1)];
    const isLog = low > 0 && high / low >= 20 && order.length > 2;
    const at = isLog ? Math.log : (value) => value;
    const span = at(high) - at(low);
    const share = (value) => (span ? (at(value) - at(low)) / span : 0.5);
    const few = order.length <= MOST_LABELS ? order : (isLog ? logTicks : niceTicks)(low, high);
    return { title, values, share, isNumeric: true, ticks: few.map((value) => ({ value, text: number(value, 4) })) };
  }
  const place = (value) => order.indexOf(value);
  const share = (value) => (order.length > 1 ? place(value) / (order.length - 1) : 0.5);
  const step = Math.ceil(order.length / MOST_LABELS);
  const ticks = order.filter((_, at) => at % step === 0).map((value) => ({ value, text: setting(value) }));
  return { title, values, share, ticks };
}
