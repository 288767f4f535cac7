// Line charts with bands, drawn by uPlot (a plain script, so it stands on `window`), with a legend of our own.

import { chartFigure, drawMarks } from "./chart_figure.js";
import { faded, isDark, themed } from "./colours.js";
import { el, fill, setText } from "./dom.js";
import { moment, number, shortCount } from "./format.js";
import { saveMenu } from "./saving.js";
import { logTicks } from "./ticks.js";

const WHOLE_STEPS = [...Array(13).keys()].flatMap((power) => [1, 2, 5].map((times) => times * 10 ** power));

/**
 * A chart in `root`. `draw(content)` shows
 *
 *     { title, xLabel, wholeX, timeX, xTicks, spoken, logX, logY, empty, lines: [{ key, label, x, y, ... }] }
 *
 * where a line has { low, high, last, colour, dash, width, quiet, marks, scatter, names }: `low` and `high` are the edges
 * of a band, `last` is the place of its last step (else its last x), whose value the legend tells, `marks` are points
 * with a ×, `quiet` lines stand in no legend, and `scatter` ones are dots, which `names` tell of. `xTicks` are [x, text],
 * and `spoken` is what the chart is to those who do not see it. `onHide(keys)` hears which lines the legend hides;
 * `hidden` is which are hidden at first; `zoom` is the stretch of x at first, and `onZoom(range)` hears of another (null:
 * all). After a change of theme it must be drawn again, with
 * lines in the new colours.
 */
export class Chart {
  constructor(root, { height = 320, hidden = [], onHide = () => {}, legend = true, zoom = null, onZoom = () => {} } = {}) {
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
    this.resizing = new ResizeObserver(() => this.resize());
    this.resizing.observe(this.box);
  }

  destroy() {
    this.resizing.disconnect();
    this.plot?.destroy();
    this.plot = null;
  }

  draw(content) {
    this.content = content;
    const { lines } = content;
    const shown = this.shown();
    this.box.setAttribute("aria-label", content.spoken ?? description(content, shown));
    this.drawLegend();
    const signature = JSON.stringify([
      isDark(),
      content.title,
      content.xLabel,
      content.logX,
      content.logY,
      lines.map((line) => [line.key, line.colour, line.dash, line.width, Boolean(line.low), this.hidden.has(line.key)]),
    ]);
    const data = joined(shown, content);
    if (this.plot && signature === this.signature) {
      // A zoom that the reader chose stays; else the axes follow the data.
      this.plot.setData(data, !this.zoomed());
    } else {
      this.signature = signature;
      this.build(data, shown);
    }
    this.showValues(this.pointedAt());
  }

  /** The x nearest to the mouse at which a line has a point; null where the mouse is elsewhere. */
  pointedAt() {
    const left = this.plot?.cursor.left ?? -1;
    if (left < 0) return null;
    const xs = this.plot.data[0];
    return xs[nearest(xs, this.plot.posToVal(left, "x"))] ?? null;
  }

  build(data, shown) {
    this.plot?.destroy();
    fill(this.box);
    if (!data[0].length) {
      fill(this.box, el("p", { class: "empty" }, this.content.empty ?? "No points yet."));
      this.plot = null;
      this.signature = "";
      return;
    }
    this.plot = new window.uPlot(this.options(shown), data, this.box);
    if (this.zoom) this.showZoom(this.zoom);
  }

  options(shown) {
    const { logX, logY, wholeX, timeX, xTicks, xLabel, title } = this.content;
    const series = [{ label: xLabel }];
    const bands = [];
    for (const line of shown) {
      series.push({
        label: line.label,
        named: line.label,
        stroke: line.colour,
        width: line.width ?? 2,
        dash: line.dash,
        points: { show: line.scatter || line.x.length < 2, size: line.scatter ? 5 : 6, fill: line.scatter && line.colour },
        ...(line.scatter ? { paths: () => null } : {}),
      });
      if (!line.low) continue;
      const edge = { stroke: "transparent", width: 0, points: { show: false } };
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
        setSeries: [(plot, at) => (this.nearby = plot.series[at]?.named ?? "")],
      },
    };
  }

  /** Lines that are not hidden. */
  shown() {
    return this.content.lines.filter((line) => !this.hidden.has(line.key));
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

  zoomed() {
    if (!this.plot || !this.zoom) return false;
    const [first, last] = [this.plot.data[0][0], this.plot.data[0].at(-1)];
    const { min, max } = this.plot.scales.x;
    return min > first || max < last;
  }

  width() {
    return Math.max(this.box.clientWidth, 200);
  }

  resize() {
    if (this.plot && this.plot.width !== this.width()) this.plot.setSize({ width: this.width(), height: this.height });
  }

  drawLegend() {
    if (!this.legend) return;
    const lines = this.content.lines.filter((line) => !line.quiet);
    const keys = JSON.stringify(lines.map((line) => [line.key, line.label, line.colour, this.hidden.has(line.key)]));
    if (this.legendKeys === keys) return;
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
    const button = el("button",
      {
        type: "button",
        "aria-pressed": String(!this.hidden.has(line.key)),
        title: "Show or hide; with Alt: this one alone",
        on: { click: (event) => this.toggle(line.key, event.altKey) },
      },
      swatch,
      el("span", {}, line.label),
      value,
    );
    return el("li", {}, button);
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
    this.draw(this.content);
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
  const named = lines.filter((line) => !line.quiet);
  const list = named
    .slice(0, 8)
    .map((line) => line.label)
    .join("; ");
  return (
    `Curves of ${title} over ${xLabel}, ${shown.length} of ${lines.length} lines shown: ${list}. ` +
    "Left and right arrows read values, Escape shows all of it again."
  );
}

/** The columns that uPlot wants: one x for all lines, then each line's y and, of a band, its high and low edge. */
function joined(lines, { logX, logY }) {
  const tables = lines.map((line) => {
    const columns = line.low ? [line.x, line.y, line.high, line.low] : [line.x, line.y];
    if (!logX && !logY) return columns;
    const good = (value) => value === null || value > 0;
    const kept = line.x.map((x, place) => (!logX || x > 0) && (!logY || good(line.y[place])));
    return columns.map((column, which) =>
      column.filter((_, place) => kept[place]).map((value) => (which && logY && !good(value) ? null : value)),
    );
  });
  const filled = tables.filter((table) => table[0].length);
  if (!filled.length) return [[]];
  // uPlot's join leaves out nothing: a line without points must still have its columns.
  return window.uPlot.join(
    tables.map((table) => (table[0].length ? table : table.map((_, which) => (which ? [null] : [filled[0][0][0]])))),
  );
}

/** The place in rising `xs` that is nearest to `x`; -1 past either end. */
function nearest(xs, x) {
  if (!xs.length || x < xs[0] || x > xs.at(-1)) return xs.length && x !== null ? edge(xs, x) : -1;
  let low = 0;
  let high = xs.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (xs[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low > 0 && x - xs[low - 1] < xs[low] - x ? low - 1 : low;
}

/** Just past an end still counts as the end: a cursor rarely stands exactly on it. */
function edge(xs, x) {
  const slack = (xs.at(-1) - xs[0]) / 50;
  if (x > xs.at(-1) && x - xs.at(-1) <= slack) return xs.length - 1;
  return x < xs[0] && xs[0] - x <= slack ? 0 : -1;
}
