// The newest value of a metric against each setting that differs: a dot a run, a line through the means.

import { captionedChart } from "./chart.js";
import { faded, lineStyle } from "./colours.js";
import { el, fill, setText } from "./dom.js";
import { divergedNote, inOrder, number, setting } from "./format.js";

const SPREAD = 0.04; // of the distance between values: dots of the same value stand beside each other

/** Draws one chart for each of `settings` into `root`. */
export class FinalValues {
  constructor(root, signal) {
    this.signal = signal;
    this.grid = el("div", { class: "figures" });
    this.told = el("p", { class: "faint" });
    this.figures = new Map();
    fill(root, this.grid, this.told);
  }

  /** `settings` and `metric` as parallel coordinates have them. */
  show({ settings, metric, runs, leftOut }) {
    const { title, values } = metric;
    const diverged = divergedNote(runs.filter((_, at) => values[at] === null), "× at the top");
    const none = values.length ? "" : `No run has a ${title} yet.`;
    const dots = "Dots are runs (running ones show their newest value). The line goes through the means.";
    setText(this.told,
      settings.length
        ? (none || dots + diverged) + leftOut
        : "All runs have the same settings, so there is nothing to compare the value with.",
    );
    for (const axis of settings) {
      if (!this.figures.has(axis.title)) {
        this.figures.set(axis.title, captionedChart("", { signal: this.signal, height: 240, legend: false }));
        this.grid.append(this.figures.get(axis.title).figure);
      }
      const { figure, chart } = this.figures.get(axis.title);
      setText(figure.firstChild, `${title} against ${axis.title}`);
      chart.draw(() => content(axis, metric, runs));
    }
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
  const all = settings.map((value, at) => ({ value, number: values[at], run: runs[at] }));
  const byValue = Map.groupBy(all, ({ value }) => value);
  return inOrder(settings).map((value) => {
    const every = byValue.get(value);
    const own = every.filter((one) => one.number !== null);
    const numbers = own.map((one) => one.number);
    const mean = numbers.reduce((a, b) => a + b, 0) / own.length;
    return { value, values: numbers, runs: own.map((one) => one.run), lost: every.length - own.length, mean };
  });
}

/** From -1 to 1, another for each, so that no two dots share an x. */
function jitter(which, of) {
  return of < 2 ? 0 : ((((which * 7919) % 17) - 8) / 8) * Math.min(1, of / 8) + which * 1e-6;
}

function spoken(title, metric, groups) {
  const mean = (group) => (group.values.length ? number(group.mean, 4) : "diverged");
  const means = groups.slice(0, 12).map((group) => `${setting(group.value)}: ${mean(group)}`);
  return `Mean ${metric} by ${title}: ${means.join("; ")}`;
}
