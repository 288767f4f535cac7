// The newest value of a metric against each setting that differs: a dot a run, a line through the means.

import { Chart } from "./chart.js";
import { faded, lineStyle, onThemeChange } from "./colours.js";
import { el, fill, setText } from "./dom.js";
import { divergedNote, number, setting } from "./format.js";

const SPREAD = 0.04; // of the distance between values: dots of the same value stand beside each other

/** Draws one chart for each of `settings` into `root`. */
export class FinalValues {
  constructor(root) {
    this.grid = el("div", { class: "figures" });
    this.told = el("p", { class: "faint" });
    this.charts = [];
    fill(root, this.grid, this.told);
    this.unTheme = onThemeChange(() => this.draw());
  }

  destroy() {
    for (const chart of this.charts) chart.destroy();
    this.unTheme();
  }

  /** `settings` and `metric` as parallel coordinates have them. */
  show({ settings, metric, runs }) {
    Object.assign(this, { settings, metric, runs });
    const names = JSON.stringify(settings.map((axis) => axis.title));
    if (names !== this.names) {
      this.names = names;
      for (const chart of this.charts) chart.destroy();
      const boxes = settings.map(() => el("div"));
      this.charts = boxes.map((box) => new Chart(box, { height: 240, legend: false }));
      fill(this.grid, boxes.map((box) => el("figure", {}, el("figcaption"), box)));
    }
    this.draw();
  }

  draw() {
    if (!this.metric) return;
    const { title, values } = this.metric;
    const lost = this.runs.filter((_, at) => values[at] === null);
    const diverged = divergedNote(lost, "× at the top");
    const none = values.length ? "" : `No run has a ${title} yet.`;
    setText(this.told,
      this.settings.length
        ? none || `Dots are runs (of running ones, their newest value), the line goes through the means.${diverged}`
        : "All runs have the same settings: there is nothing to hold the value against.",
    );
    this.settings.forEach((axis, at) => {
      setText(this.grid.children[at].firstChild, `${title} against ${axis.title}`);
      this.charts[at].draw(content(axis, this.metric, this.runs));
    });
  }
}

function content(axis, metric, runs) {
  const groups = grouped(axis.values, metric.values, runs);
  const isNumeric = groups.every(({ value }) => typeof value === "number");
  const xs = groups.map(({ value }, at) => (isNumeric ? value : at));
  const logX = isNumeric && xs[0] > 0 && xs.at(-1) / xs[0] >= 4;
  const gap = logX ? Math.log(xs.at(-1) / xs[0]) : xs.at(-1) - xs[0] || 1;
  const beside = (x, share) => (logX ? x * Math.exp(share * gap) : x + share * gap);
  const dots = groups.flatMap(({ values, runs: names }, at) =>
    values.map((value, which) => [beside(xs[at], jitter(which, values.length) * SPREAD), value, names[which]]),
  );
  dots.sort(([a], [b]) => a - b);
  const column = (which) => dots.map((dot) => dot[which]);
  const { colour } = lineStyle(0);
  const means = groups.map((group, at) => [xs[at], group.mean]).filter(([, mean]) => !Number.isNaN(mean));
  const run = { key: "runs", label: "runs", x: column(0), y: column(1), names: column(2), scatter: true };
  const mean = { key: "mean", label: "mean", x: means.map(([x]) => x), y: means.map(([, y]) => y) };
  const marks = groups.flatMap((group, at) => (group.lost ? [[xs[at], Infinity]] : []));
  return {
    title: metric.title,
    xLabel: axis.title,
    logX,
    spoken: spoken(axis.title, metric.title, groups),
    xTicks: groups.map(({ value }, at) => [xs[at], number(setting(value), 4)]),
    lines: [
      { ...run, colour: dots.length > 500 ? faded(colour, 0.3) : colour },
      { ...mean, colour: lineStyle(1).colour, marks },
    ],
  };
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

/** From -1 to 1, another for each, so that no two dots share an x. */
function jitter(which, of) {
  return of < 2 ? 0 : ((((which * 7919) % 17) - 8) / 8) * Math.min(1, of / 8) + which * 1e-6;
}

function spoken(title, metric, groups) {
  const means = groups
    .slice(0, 12)
    .map((group) => `${setting(group.value)}: ${group.values.length ? number(group.mean, 4) : "diverged"}`);
  return `Mean ${metric} by ${title}: ${means.join("; ")}`;
}
