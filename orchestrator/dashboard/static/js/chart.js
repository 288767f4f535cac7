// Line charts with bands, drawn by uPlot (a plain script, so it stands on `window`), with a legend of our own.

import { chartFigure, drawMarks } from "./chart_figure.js";
import { faded, isDark, themed } from "./colours.js";
import { button, el, fill, setText } from "./dom.js";
import { logTicks, moment, number, shortCount } from "./format.js";
import { saveMenu } from "./saving.js";

const WHOLE_STEPS = [...Array(13).keys()].flatMap((power) => [1, 2, 5].map((times) => times * 10 ** power));

/**
 * A chart in `root`, until `signal` is aborted. `draw(read)` shows what `read()` gives, now and after a change of theme:
 *
 *     { title, xLabel, wholeX, timeX, xTicks, spoken, logX, logY, empty, lines: [{ key, label, x, y, ... }] }
 *
 * where a line has { low, high, last, colour, dash, width, quiet, marks, scatter, names }: `low` and `high` are the edges
 * of a band, `last` is the place of its last step (else its last x), whose value the legend tells, `marks` are points
 * with a ×, `quiet` lines stand in no legend, and `scatter` ones are dots, which `names` tell of. `xTicks` are [x, text],
 * and `spoken` is what the chart is to those who do not see it. `onHide(keys)` hears which lines the legend hides;
 * `hidden` is which are hidden at first; `zoom` is the stretch of x at first, and `onZoom(range)` hears of another (null:
 * all).
 */
export class Chart {
  constructor(root, { signal, height = 320, hidden = [], onHide = () => {}, legend = true, zoom = null, onZoom = () => {} }) {
    Object.assign(this, { height, onHide, zoom, onZoom, hidden: new Set(hidden), plot: null, content: null, signature: "" });
    this.box = el("div", {
      class: "chart",
      tabindex: "0",
      role: "group",
      on: { keydown: (event) => this.onKey(event), dblclick: () => this.setZoom(null) },
    });
    // The place is kept before the first points come: nothing below it jumps.
    this.box.style.minHeight = `${height}px`;
    this.readout = el("p", { class: "readout" });
    this.spoken = el("p", { class: "sr-only", "aria-live": "polite" });
    this.legend = legend ? el("ul", { class: "legend" }) : null;
    const below = el("div", { class: "below" }, this.readout, saveMenu(() => this.figure()));
    fill(root, this.box, below, this.spoken, this.legend);
    const resizing = new ResizeObserver(() => this.plot?.setSize({ width: this.width(), height: this.height }));
    resizing.observe(this.box);
    document.addEventListener("themechange", () => this.content && this.draw(this.read), { signal });
    signal.addEventListener("abort", () => {
      resizing.disconnect();
      this.plot?.destroy();
      this.plot = null;
    });
  }

  draw(read) {
    this.read = read;
    this.content = read();
    const shown = this.shown();
    this.box.setAttribute("aria-label", this.content.spoken ?? description(this.content, shown));
    const { title, xLabel, logX, logY, lines } = this.content;
    const looks = ({ key, colour, dash, width, low }) => [key, colour, dash, width, Boolean(low), this.hidden.has(key)];
    const signature = JSON.stringify([isDark(), title, xLabel, logX, logY, lines.map(looks), shown.map((line) => line.key)]);
    // A zoom that the reader chose stays; else the axes follow the data.
    if (this.plot && shown.length && signature === this.signature) this.plot.setData(joined(shown), !this.zoom);
    else this.build(shown);
    this.signature = signature;
    this.drawLegend();
    this.showValues(this.pointedAt());
  }

  /** The x nearest to the mouse at which a line has a point; null where the mouse is elsewhere. */
  pointedAt() {
    const left = this.plot?.cursor.left ?? -1;
    return left < 0 ? null : (this.plot.data[0][this.plot.posToIdx(left)] ?? null);
  }

  build(shown) {
    const { left = -1, top } = this.plot?.cursor ?? {}; // a mouse that stays where it is reads on
    this.plot?.destroy();
    this.plot = null;
    fill(this.box);
    if (!shown.length) {
      fill(this.box, el("p", { class: "empty" }, this.content.empty ?? "No points yet."));
      return;
    }
    this.plot = new window.uPlot(this.options(shown), joined(shown), this.box);
    if (this.zoom) this.showZoom(this.zoom);
    if (left >= 0) this.plot.setCursor({ left, top });
  }

  options(shown) {
    const { logX, logY, wholeX, timeX, xTicks, xLabel, title } = this.content;
    const series = [{ label: xLabel }];
    const bands = [];
    for (const line of shown) {
      series.push({
        label: line.label,
        stroke: line.colour,
        width: line.width ?? 2,
        dash: line.dash,
        points: { show: line.scatter || line.x.length < 2, size: line.scatter ? 5 : 6, fill: line.scatter && line.colour },
        ...(line.scatter ? { paths: () => null } : {}),
      });
      if (!line.low) continue;
      const edge = { label: "", stroke: "transparent", width: 0, points: { show: false } };
      series.push({ ...edge }, { ...edge });
      bands.push({ series: [series.length - 2, series.length - 1], fill: faded(line.colour, 0.18) });
    }
    const axis = {
      stroke: themed("--faint"),
      grid: { stroke: themed("--grid"), width: 1 },
      ticks: { stroke: themed("--grid"), width: 1, size: 4 },
      font: "12px system-ui, sans-serif",
      labelFont: "12px system-ui, sans-serif",
      labelSize: 18,
    };
    // uPlot would widen a logarithmic axis to whole decades, and number all their tenths.
    const exact = { distr: 3, range: (_, min, max) => (min < max ? [min, max] : [min / 2, max * 2]) };
    const logarithmic = { splits: (_, which, min, max) => logTicks(min, max), filter: (_, ticks) => ticks };
    const values = (_, ticks) =>
      ticks.map((tick) => (tick === null ? "" : shortCount(Number(tick.toPrecision(6))).replace(/\.0(?=[A-Z])/, "")));
    const chosen = xTicks && chosenTicks(() => this.content.xTicks);
    const ownTicks = chosen ?? (logX ? logarithmic : wholeX ? { incrs: WHOLE_STEPS } : {});
    const select = ({ select: { left, width }, posToVal: at }) => this.setZoom([at(left, "x"), at(left + width, "x")]);
    return {
      width: this.width(),
      height: this.height,
      legend: { show: false },
      scales: { x: { time: Boolean(timeX), ...(logX ? exact : {}) }, y: logY ? exact : {} },
      axes: [
        { ...axis, label: xLabel, size: timeX ? 42 : 30, values: timeX ? clockTimes : values, ...ownTicks },
        {
          ...axis,
          label: title,
          size: 58,
          values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : number(tick, 4))),
          ...(logY ? logarithmic : {}),
        },
      ],
      series,
      bands,
      cursor: { drag: { x: true, y: false }, points: { show: false }, focus: { prox: 24 } },
      focus: { alpha: 1 },
      hooks: {
        setCursor: [(plot) => plot === this.plot && this.showValues(this.pointedAt())],
        setSelect: [select],
        draw: [(plot) => this.mark(plot)],
        setSeries: [(plot, at) => (this.nearby = plot.series[at]?.label ?? "")],
      },
    };
  }

  /** Lines that are not hidden, as far as the axes have room for them. */
  shown() {
    const shown = this.content.lines.filter((line) => !this.hidden.has(line.key));
    return shown.map((line) => placed(line, this.content)).filter((line) => line.x.length);
  }

  figure() {
    return this.plot && chartFigure(this.plot, this.content, this.shown());
  }

  /** Show this stretch of x; null: all of it. */
  showZoom(range) {
    this.zoom = range;
    if (range) this.plot?.setScale("x", { min: range[0], max: range[1] });
    else this.plot?.setData(this.plot.data, true);
  }

  setZoom(range) {
    this.zoom = range;
    this.onZoom(range);
  }

  mark(plot) {
    const { ctx: pen, bbox } = plot;
    pen.save();
    const place = (x, y) => [plot.valToPos(x, "x", true), plot.valToPos(y, "y", true)];
    const edges = [bbox.left, bbox.left + bbox.width, bbox.top, bbox.top + bbox.height];
    drawMarks(pen, this.shown(), place, edges, window.devicePixelRatio);
    pen.restore();
  }

  width() {
    return Math.max(this.box.clientWidth, 200);
  }

  drawLegend() {
    if (!this.legend) return;
    const lines = this.content.lines.filter((line) => !line.quiet);
    const keys = JSON.stringify(lines.map(({ key, label, colour }) => [key, label, colour, this.hidden.has(key)]));
    if (this.legendKeys === keys) return; // what is being clicked on stays
    this.legendKeys = keys;
    this.valueCells = new Map();
    fill(this.legend, lines.map((line) => this.legendItem(line)));
  }

  legendItem(line) {
    const value = el("span", { class: "value" });
    this.valueCells.set(line.key, value);
    const swatch = el("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.borderTopColor = line.colour;
    swatch.style.borderTopStyle = line.dash?.length ? "dashed" : "solid";
    const toggle = (event) => this.toggle(line.key, event.altKey);
    const title = "Show or hide; with Alt: show only this one";
    const attributes = { "aria-pressed": String(!this.hidden.has(line.key)), title };
    return el("li", {}, button([swatch, el("span", {}, line.label), value], toggle, attributes));
  }

  toggle(key, alone) {
    const keys = this.content.lines.filter((line) => !line.quiet).map((line) => line.key);
    if (alone) {
      const isAlone = keys.every((other) => this.hidden.has(other) === (other !== key));
      this.hidden = new Set(isAlone ? [] : keys.filter((other) => other !== key));
    } else if (!this.hidden.delete(key)) {
      this.hidden.add(key);
    }
    this.onHide([...this.hidden]);
    this.draw(this.read);
    // The legend was drawn anew: the button that was pressed keeps the focus.
    this.legend.children[keys.indexOf(key)]?.firstChild.focus();
  }

  showValues(x) {
    if (!this.content) return;
    const { lines, xLabel } = this.content;
    const dots = x === null ? null : lines.find(({ names, label }) => names && label === this.nearby);
    const at = dots ? nearest(dots.x, x) : -1;
    const told = at < 0 ? [this.nearby, `${xLabel} ${this.xText(x, 6)}`] : [`run ${dots.names[at]}`, number(dots.y[at], 6)];
    setText(this.readout, x === null ? "" : told.filter(Boolean).join(" · "));
    for (const line of lines) {
      const cell = this.valueCells?.get(line.key);
      if (!cell) continue;
      const place = x === null ? (line.last ?? line.x.length - 1) : nearest(line.x, x);
      const runs = line.runs?.[place];
      setText(cell, place < 0 ? "" : `${number(line.y[place], 5)}${runs ? ` · n ${runs}` : ""}`);
    }
  }

  /** x as people read it. */
  xText(x, digits) {
    return this.content.timeX ? moment(x) : number(x, digits);
  }

  onKey(event) {
    if (!this.plot) return;
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
    if (step) {
      event.preventDefault();
      const xs = this.plot.data[0];
      const at = this.plot.cursor.idx ?? (step > 0 ? -1 : xs.length);
      const place = Math.min(Math.max(at + step, 0), xs.length - 1);
      this.plot.setCursor({ left: this.plot.valToPos(xs[place], "x"), top: this.plot.bbox.height / 4 });
      const spoken = this.content.lines.filter((line) => !line.quiet && !this.hidden.has(line.key)).slice(0, 6);
      const values = spoken.map((line) => `${line.label} ${number(line.y[nearest(line.x, xs[place])], 4)}`);
      setText(this.spoken, `${this.content.xLabel} ${this.xText(xs[place], 5)}: ${values.join(", ")}`);
    } else if (event.key === "Escape") {
      this.showZoom(null);
      this.onZoom(null);
    }
  }
}

/** A chart with a caption; `options` are those of Chart. */
export function captionedChart(caption, options) {
  const box = el("div");
  const figure = el("figure", {}, el("figcaption", {}, caption), box);
  return { figure, chart: new Chart(box, options) };
}

/** The ticks that a chart names, as many as have room. */
function chosenTicks(read) {
  const shown = (plot) => read().filter((_, at) => at % Math.ceil((read().length * 64) / plot.width) === 0);
  return {
    splits: (plot) => shown(plot).map(([x]) => x),
    values: (plot) => shown(plot).map(([, text]) => text),
    filter: (_, ticks) => ticks,
  };
}

/** Times of day; the first of each day with its date. */
function clockTimes(_, ticks) {
  const texts = ticks.map((tick) => moment(tick).split(" "));
  const digits = ticks[1] - ticks[0] < 60 ? 8 : 5;
  return texts.map(([day, time], at) => `${time.slice(0, digits)}${day === texts[at - 1]?.[0] ? "" : `\n${day}`}`);
}

function description({ title, xLabel, lines }, shown) {
  const named = lines.filter((line) => !line.quiet).map((line) => line.label);
  return (
    `Curves of ${title} over ${xLabel}, ${shown.length} of ${lines.length} lines shown: ${named.slice(0, 8).join("; ")}. ` +
    "Left and right arrows read values, Escape shows everything again."
  );
}

/** What of a line a logarithmic axis has a place for: an edge of a band may be missing, other values not. */
function placed(line, { logX, logY }) {
  if (!logX && !logY) return line;
  const { x, y, low, high } = line;
  const kept = [...x.keys()].filter((at) => (!logX || x[at] > 0) && (!logY || y[at] === null || y[at] > 0));
  const of = (column) => column && kept.map((at) => column[at]);
  const edge = (column) => of(column)?.map((value) => (logY && value <= 0 ? null : value));
  return { ...line, x: of(x), y: of(y), low: edge(low), high: edge(high), names: of(line.names), runs: of(line.runs) };
}

/** The columns that uPlot wants: one x for all lines, then each line's y and, of a band, its high and low edge. */
function joined(lines) {
  return window.uPlot.join(lines.map(({ x, y, low, high }) => (low ? [x, y, high, low] : [x, y])));
}

/** The place in rising `xs` that is nearest to `x`; -1 past either end, on which a cursor rarely stands exactly. */
function nearest(xs, x) {
  const slack = (xs.at(-1) - xs[0]) / 50;
  if (!(x >= xs[0] - slack && x <= xs.at(-1) + slack)) return -1;
  return xs.reduce((best, one, at) => (Math.abs(one - x) < Math.abs(xs[best] - x) ? at : best), 0);
}
