// The newest value of a metric against each setting that differs: a dot a run, a line through the means.

import { onThemeChange, lineStyle, themed, faded } from "./colours.js";
import { el, fill, setText } from "./dom.js";
import { number, setting } from "./format.js";
import { saveMenu } from "./saving.js";
import { niceTicks } from "./ticks.js";

const HEIGHT = 240;
const EDGE = { left: 58, right: 16, top: 12, bottom: 40 };

/** Draws one figure for each of `settings` into `root`. */
export class FinalValues {
  constructor(root) {
    this.grid = el("div", { class: "figures" });
    this.told = el("p", { class: "faint" });
    fill(root, this.grid, this.told);
    this.resizing = new ResizeObserver(() => this.draw());
    this.resizing.observe(this.grid);
    this.unTheme = onThemeChange(() => this.draw());
  }

  destroy() {
    this.resizing.disconnect();
    this.unTheme();
  }

  /** `settings` and `metric` as parallel coordinates have them. */
  show({ settings, metric, runs }) {
    [this.settings, this.metric, this.runs] = [settings, metric, runs];
    this.lost = runs.filter((_, at) => metric.values[at] === null);
    const names = JSON.stringify(this.settings.map((axis) => axis.title));
    if (names !== this.names) {
      this.names = names;
      this.canvases = this.settings.map((_, at) =>
        el("canvas", { role: "img", on: { pointermove: (event) => this.point(this.canvases[at], event) } }),
      );
      this.dots = new Map();
      fill(
        this.grid,
        this.settings.map((axis, at) =>
          el(
            "figure",
            {},
            el("figcaption", {}, `${this.metric.title} against ${axis.title}`),
            this.canvases[at],
            saveMenu(() => this.figure(at)),
          ),
        ),
      );
    }
    this.draw();
  }

  draw() {
    if (!this.metric) return;
    const total = this.metric.values.length;
    const named = this.lost.slice(0, 10).map((id) => `run ${id}`);
    const diverged = this.lost.length
      ? ` ${this.lost.length} diverged (× at the top): ${named.join(", ")}${this.lost.length > 10 ? " …" : ""}.`
      : "";
    const none = total ? "" : `No run has a ${this.metric.title} yet.`;
    setText(
      this.told,
      this.settings.length
        ? none || `Dots are runs (of running ones, their newest value), the line goes through the means.${diverged}`
        : "All runs have the same settings: there is nothing to hold the value against.",
    );
    this.settings.forEach((axis, at) => this.drawOne(this.canvases[at], axis));
    for (const [at, caption] of [...this.grid.querySelectorAll("figcaption")].entries()) {
      setText(caption, `${this.metric.title} against ${this.settings[at].title}`);
    }
  }

  /** Name the run of the dot under the mouse. */
  point(canvas, { offsetX, offsetY }) {
    const near = ([x, y]) => Math.hypot(x - offsetX, y - offsetY);
    const dot = this.dots.get(canvas)?.reduce((a, b) => (near(a) <= near(b) ? a : b), [Infinity, Infinity]);
    canvas.title = dot && near(dot) < 8 ? `run ${dot[2]}: ${number(dot[3], 6)}` : "";
  }

  drawOne(canvas, axis) {
    const width = Math.max(canvas.parentElement.clientWidth - 2, 200);
    const ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = HEIGHT * ratio;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${HEIGHT}px`;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    this.dots.set(canvas, this.paint(pen, canvas, axis, width));
  }

  figure(at) {
    const [axis, canvas] = [this.settings[at], this.canvases[at]];
    const width = parseFloat(canvas.style.width);
    const { title, values } = this.metric;
    const rows = this.runs.map((run, which) => [run, axis.values[which], values[which]]);
    const name = `${title} against ${axis.title}`;
    const draw = (pen) => {
      this.paint(pen, canvas, axis, width);
      [pen.fillStyle, pen.textAlign] = [themed("--text"), "left"];
      pen.fillText(name, EDGE.left, HEIGHT + 14);
    };
    return { name, width, height: HEIGHT + 24, draw, rows: [["run", axis.title, title], ...rows] };
  }

  /** Returns where the dots are, with their runs and values. */
  paint(pen, canvas, axis, width) {
    const groups = grouped(axis.values, this.metric.values, this.runs);
    canvas.setAttribute("aria-label", spoken(axis.title, this.metric.title, groups));
    const xs = places(groups.map((group) => group.value), width);
    const values = this.metric.values.filter((value) => value !== null);
    const [low, high] = values.length ? [least(values), greatest(values)] : [0, 1];
    const room = (high - low || Math.abs(high) || 1) * 0.06;
    const y = (value) =>
      HEIGHT - EDGE.bottom - ((value - low + room) / (high - low + 2 * room)) * (HEIGHT - EDGE.top - EDGE.bottom);
    drawFrame(pen, { width, low, high, y, axis, groups, xs });
    const { colour } = lineStyle(0);
    pen.fillStyle = faded(colour, values.length > 500 ? 0.2 : 0.5);
    const dots = [];
    groups.forEach((group, at) => {
      group.values.forEach((value, which) => {
        pen.beginPath();
        const dot = [xs[at] + jitter(which, group.values.length), y(value), group.runs[which], value];
        dots.push(dot);
        pen.arc(dot[0], dot[1], 3, 0, 7);
        pen.fill();
      });
    });
    pen.strokeStyle = lineStyle(1).colour;
    pen.lineWidth = 2;
    pen.beginPath();
    let isDrawing = false;
    groups.forEach((group, at) => {
      if (!group.values.length) return;
      pen[isDrawing ? "lineTo" : "moveTo"](xs[at], y(group.mean));
      isDrawing = true;
    });
    pen.stroke();
    pen.fillStyle = themed("--bad");
    pen.font = "600 12px system-ui, sans-serif";
    groups.forEach((group, at) => {
      if (group.lost) pen.fillText(group.lost > 1 ? `×${group.lost}` : "×", xs[at], EDGE.top);
    });
    return dots;
  }
}

function drawFrame(pen, { width, low, high, y, axis, groups, xs }) {
  pen.font = "11px system-ui, sans-serif";
  pen.lineWidth = 1;
  pen.textAlign = "right";
  for (const value of niceTicks(low, high)) {
    pen.strokeStyle = themed("--grid");
    pen.beginPath();
    pen.moveTo(EDGE.left, y(value));
    pen.lineTo(width - EDGE.right, y(value));
    pen.stroke();
    pen.fillStyle = themed("--faint");
    pen.fillText(number(value, 4), EDGE.left - 6, y(value) + 4);
  }
  pen.textAlign = "center";
  const every = Math.ceil(groups.length / Math.max(1, Math.floor((width - EDGE.left) / 64)));
  groups.forEach((group, at) => {
    if (at % every === 0) pen.fillText(number(setting(group.value), 4), xs[at], HEIGHT - EDGE.bottom + 16, 80);
  });
  pen.fillText(axis.title, (EDGE.left + width - EDGE.right) / 2, HEIGHT - 6);
}

/** Runs by value of the setting, in order, with the mean of each. */
function grouped(settings, values, runs) {
  const found = new Map();
  settings.forEach((value, run) => {
    if (!found.has(value)) found.set(value, []);
    found.get(value).push([values[run], runs[run]]);
  });
  const groups = [...found].map(([value, every]) => {
    const own = every.filter(([one]) => one !== null);
    const [numbers, names] = [own.map(([one]) => one), own.map(([, name]) => name)];
    const mean = numbers.reduce((a, b) => a + b, 0) / own.length;
    return { value, values: numbers, runs: names, lost: every.length - own.length, mean };
  });
  return groups.sort((a, b) =>
    typeof a.value === "number" && typeof b.value === "number"
      ? a.value - b.value
      : setting(a.value).localeCompare(setting(b.value), "en", { numeric: true }),
  );
}

/** Where the groups stand: numbers by their size (by the logarithm where they span much), words evenly. */
function places(values, width) {
  const [begin, end] = [EDGE.left + 18, width - EDGE.right - 18];
  if (values.length < 2) return [(begin + end) / 2];
  if (!values.every((value) => typeof value === "number")) {
    return values.map((_, at) => begin + ((end - begin) * at) / (values.length - 1));
  }
  const [low, high] = [values[0], values.at(-1)];
  const isLog = low > 0 && high / low >= 4;
  const at = isLog ? Math.log : (value) => value;
  return values.map((value) => begin + ((end - begin) * (at(value) - at(low))) / (at(high) - at(low)));
}

function jitter(which, of) {
  return of < 4 ? 0 : (((which * 7919) % 17) - 8) * 0.9;
}

function spoken(title, metric, groups) {
  const means = groups
    .slice(0, 12)
    .map((group) => `${setting(group.value)}: ${group.values.length ? number(group.mean, 4) : "diverged"}`);
  return `Mean ${metric} by ${title}: ${means.join("; ")}`;
}

function least(values) {
  return values.reduce((a, b) => Math.min(a, b), Infinity);
}

function greatest(values) {
  return values.reduce((a, b) => Math.max(a, b), -Infinity);
}
