// Parallel coordinates: each run a line through its settings to its newest value of the metric.

import { onThemeChange, scaleColour, themed } from "./colours.js";
import { el, fill, setText } from "./dom.js";
import { divergedNote, number, setting } from "./format.js";
import { saveMenu } from "./saving.js";
import { logTicks, niceTicks } from "./ticks.js";

const HEIGHT = 300;
const TOP = 34;
const BOTTOM = 22;
const SIDE = 56;
const MOST_LABELS = 9;

/** Draws into `root`; a stretch dragged along an axis keeps the runs within it coloured. */
export class ParallelCoordinates {
  /** `onBrush(axis, wanted)` hears what was picked along an axis: { low, high }, or { words }; null after a double click. */
  constructor(root, onBrush) {
    this.onBrush = onBrush;
    this.canvas = el("canvas", {
      role: "img",
      on: {
        pointerdown: (event) => this.begin(event),
        pointermove: (event) => this.drag(event),
        pointerup: () => this.pick(),
        pointercancel: () => (this.dragged = null),
        dblclick: () => this.clear(),
      },
    });
    this.told = el("p", { class: "faint" });
    this.box = el("div", { class: "parallel", tabindex: "0", role: "region", "aria-label": "Parallel coordinates" },
      this.canvas,
    );
    fill(root, this.box, saveMenu(() => this.figure()), this.told);
    this.brushes = new Map();
    this.resizing = new ResizeObserver(() => this.draw());
    this.resizing.observe(this.box);
    this.unTheme = onThemeChange(() => this.draw());
  }

  destroy() {
    this.resizing.disconnect();
    this.unTheme();
  }

  /** `settings` and `metric` are { title, values } with a value a run; the metric, which gives the colour, is null for
   * runs that diverged. */
  show({ settings, metric, runs }) {
    this.runs = runs;
    const { share, ticks } = scaled({ title: metric.title, values: metric.values.filter((value) => value !== null) });
    this.axes = [
      ...settings.map((axis) => ({ ...scaled(axis), hasNone: true })),
      { ...metric, share, ticks, isNumeric: true },
    ];
    // By rank: a single bad run would leave one hue to all others.
    const order = [...new Set(metric.values)].filter((value) => value !== null).sort((a, b) => a - b);
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
    const chosen = this.paint(pen);
    const metric = this.axes.at(-1);
    const lost = this.runs.filter((_, at) => metric.values[at] === null);
    const total = metric.values.length;
    this.canvas.setAttribute("aria-label", `${total} runs over ${this.axes.map((axis) => axis.title).join(", ")}`);
    const measured = (total - lost.length).toLocaleString("en-US");
    const drawn = total
      ? `${this.brushes.size ? `${chosen} of ${total}` : measured} runs with a ${metric.title}.`
      : `No run has a ${metric.title} yet.`;
    const diverged = divergedNote(lost, "dashed, above the axis");
    setText(this.told, `${drawn}${diverged} Drag along an axis to filter by it, double-click to let go of that.`);
  }

  paint(pen) {
    const chosen = this.drawRuns(pen);
    this.axes.forEach((axis, at) => this.drawAxis(pen, axis, at));
    return chosen;
  }

  figure() {
    if (!this.axes) return null;
    const titles = this.axes.map((axis) => axis.title);
    const rows = this.runs.map((run, at) => [run, ...this.axes.map((axis) => axis.values[at])]);
    const size = { width: this.width, height: HEIGHT };
    return { name: `Parallel coordinates ${titles.at(-1)}`, ...size, draw: (pen) => this.paint(pen), rows: [["run", ...titles], ...rows] };
  }

  drawRuns(pen) {
    const metric = this.axes.at(-1);
    const total = metric.values.length;
    const opacity = Math.min(0.85, Math.max(0.06, 40 / Math.max(total, 1)));
    const chosen = [];
    const rest = [];
    for (let run = 0; run < total; run += 1) (this.isChosen(run) ? chosen : rest).push(run);
    const line = (run) => {
      pen.beginPath();
      this.axes.forEach((axis, at) => pen[at ? "lineTo" : "moveTo"](this.place(at), height(axis, run)));
      pen.stroke();
    };
    pen.lineWidth = 1;
    pen.strokeStyle = themed("--grid");
    pen.globalAlpha = Math.min(1, opacity * 2);
    if (this.brushes.size) rest.forEach(line);
    pen.globalAlpha = this.brushes.size ? Math.min(0.85, Math.max(opacity, 40 / Math.max(chosen.length, 1))) : opacity;
    pen.lineWidth = 1.4;
    for (const run of chosen) {
      const value = metric.values[run];
      pen.strokeStyle = value === null ? themed("--bad") : scaleColour(this.rank.get(value));
      pen.setLineDash(value === null ? [4, 4] : []);
      line(run);
    }
    pen.setLineDash([]);
    pen.globalAlpha = 1;
    return chosen.length;
  }

  drawAxis(pen, axis, at) {
    const x = this.place(at);
    pen.strokeStyle = themed("--faint");
    pen.fillStyle = themed("--text");
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(x, TOP);
    pen.lineTo(x, HEIGHT - BOTTOM);
    pen.stroke();
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
      pen.strokeStyle = themed("--page");
      pen.lineWidth = 3;
      pen.strokeText(tick.text, x + (isLast ? -6 : 6), y + 4, 90);
      pen.fillText(tick.text, x + (isLast ? -6 : 6), y + 4, 90);
    }
    const brush = this.brushes.get(at);
    if (!brush) return;
    pen.fillStyle = themed("--brush");
    pen.fillRect(x - 7, Math.min(...brush), 14, Math.abs(brush[0] - brush[1]));
  }

  isChosen(run) {
    for (const [at, brush] of this.brushes) {
      const y = height(this.axes[at], run);
      if (y < Math.min(...brush) - 2 || y > Math.max(...brush) + 2) return false;
    }
    return true;
  }

  begin(event) {
    const x = event.offsetX;
    const at = this.axes.findIndex((_, place) => Math.abs(this.place(place) - x) < 16);
    if (at < 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.dragged = at;
    this.brushes.set(at, [event.offsetY, event.offsetY]);
  }

  drag(event) {
    if (this.dragged === null || this.dragged === undefined) return;
    this.brushes.get(this.dragged)[1] = Math.min(Math.max(event.offsetY, TOP), HEIGHT - BOTTOM);
    this.draw();
  }

  /** What was picked becomes a condition: the table and the curves follow. */
  pick() {
    const at = this.dragged;
    this.dragged = null;
    if (at === null || at === undefined) return;
    const axis = this.axes[at];
    const picked = axis.values.filter((value, run) => value !== null && this.isChosen(run));
    this.brushes.clear();
    if (!picked.length) this.draw();
    else if (axis.isNumeric) this.onBrush(at, { low: Math.min(...picked), high: Math.max(...picked) });
    else this.onBrush(at, { words: [...new Set(picked.map(setting))] });
  }

  clear() {
    this.brushes.clear();
    this.onBrush(null);
  }
}

function height(axis, run) {
  if (axis.values[run] === null && !axis.hasNone) return TOP - 12;
  return HEIGHT - BOTTOM - axis.share(axis.values[run]) * (HEIGHT - TOP - BOTTOM);
}

/** An axis with `share(value)` from 0 to 1: numbers by size (by their logarithm where they span decades), words in order. */
function scaled({ title, values }) {
  const distinct = [...new Set(values)];
  if (distinct.every((value) => typeof value === "number" && Number.isFinite(value))) {
    const sorted = distinct.sort((a, b) => a - b);
    const [low, high] = [sorted[0], sorted.at(-1)];
    const isLog = low > 0 && high / low >= 20 && sorted.length > 2;
    const at = isLog ? Math.log : (value) => value;
    const span = at(high) - at(low);
    const share = (value) => (span ? (at(value) - at(low)) / span : 0.5);
    const few = sorted.length <= MOST_LABELS ? sorted : evenly(low, high, isLog);
    return { title, values, share, isNumeric: true, ticks: few.map((value) => ({ value, text: number(value, 4) })) };
  }
  const order = distinct.map((value) => setting(value)).sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const share = (value) => (order.length > 1 ? order.indexOf(setting(value)) / (order.length - 1) : 0.5);
  const step = Math.ceil(order.length / MOST_LABELS);
  const ticks = order.filter((_, place) => place % step === 0).map((text) => ({ value: text, text }));
  return { title, values, share, ticks };
}

function evenly(low, high, isLog) {
  return isLog ? logTicks(low, high) : niceTicks(low, high);
}
