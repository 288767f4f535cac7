// A chart as a figure to save: uPlot's canvas can't be had as SVG, so its lines are drawn once more, at its own scales.

import { faded, themed } from "./colours.js";

const ROW = 20;
const TOP = 30;

/** The figure of a chart that shows `lines` of `content`. */
export function chartFigure(plot, content, lines) {
  const ratio = window.devicePixelRatio;
  const [left, width, height] = [plot.bbox.left, plot.bbox.width, plot.bbox.height].map((value) => value / ratio);
  const named = lines.filter((line) => !line.quiet);
  const legend = legendPlaces(named, plot.width);
  const bottom = TOP + height + 46;
  const place = (x, y) => [left + plot.valToPos(x, "x"), TOP + plot.valToPos(y, "y")];
  const draw = (pen) => {
    drawAxes(pen, plot, content, { left, width, height });
    for (const line of lines) drawLine(pen, line, plot.scales.x, place);
    drawMarks(pen, lines, place, [left, left + width, TOP, TOP + height], 1);
    pen.textAlign = "left";
    named.forEach((line, at) => drawName(pen, line, legend[at][0], bottom + legend[at][1] * ROW));
  };
  return {
    name: `${content.title} over ${content.xLabel}`,
    width: plot.width,
    height: bottom + ((legend.at(-1)?.[1] ?? -1) + 1) * ROW,
    draw,
    rows: [
      ["line", content.xLabel, content.title, "low", "high", "runs"],
      ...lines.flatMap(({ label, names, x, y, low, high, runs }) =>
        x.map((at, n) => [names ? `run ${names[n]}` : label, at, y[n], low?.[n], high?.[n], runs?.[n]]),
      ),
    ],
  };
}

function drawAxes(pen, plot, { title, xLabel }, { left, width, height }) {
  const [xs, ys] = plot.axes.map(({ _splits: ticks, _values: texts }) => ticks.map((tick, at) => [tick, texts[at]]));
  const rule = (...points) => path(pen, points).stroke();
  pen.setLineDash([]);
  Object.assign(pen, { lineWidth: 1, strokeStyle: themed("--grid"), fillStyle: themed("--faint") });
  Object.assign(pen, { font: "12px system-ui, sans-serif", textAlign: "center" });
  for (const [tick, text] of xs) {
    const x = left + plot.valToPos(tick, "x");
    rule([x, TOP], [x, TOP + height]);
    String(text).split("\n").forEach((line, at) => pen.fillText(line, x, TOP + height + 16 + 12 * at));
  }
  pen.fillText(xLabel, left + width / 2, TOP + height + 36);
  pen.textAlign = "right";
  for (const [tick, text] of ys) {
    const y = TOP + plot.valToPos(tick, "y");
    rule([left, y], [left + width, y]);
    pen.fillText(text, left - 6, y + 4);
  }
  Object.assign(pen, { textAlign: "left", font: "600 13px system-ui, sans-serif", fillStyle: themed("--text") });
  pen.fillText(title, left, 18);
  pen.font = "12px system-ui, sans-serif";
}

function drawLine(pen, { x, y, low, high, colour, dash, scatter, width = 2 }, { min, max }, place) {
  const within = [...x.keys()].filter((at) => x[at] >= min && x[at] <= max);
  const band = low ? within.filter((at) => low[at] !== null && high[at] !== null) : [];
  if (band.length > 1) {
    pen.fillStyle = faded(colour, 0.18);
    const edge = [...band.map((at) => [x[at], high[at]]), ...band.toReversed().map((at) => [x[at], low[at]])];
    path(pen, edge.map((point) => place(...point))).fill();
  }
  const drawn = within.filter((at) => y[at] !== null).map((at) => place(x[at], y[at]));
  path(pen, scatter ? [] : drawn);
  if (scatter) for (const point of drawn) pen.arc(...point, 2, 0, 7);
  Object.assign(pen, { strokeStyle: colour, fillStyle: colour, lineWidth: width });
  pen.setLineDash(dash ?? []);
  pen[scatter ? "fill" : "stroke"]();
}

/** Begin a path through `points`; returns the pen. */
export function path(pen, points) {
  pen.beginPath();
  points.forEach((point, at) => pen[at ? "lineTo" : "moveTo"](...point));
  return pen;
}

/** A × where a run was lost; one that is above or below what is shown stands at the edge. */
export function drawMarks(pen, lines, place, [left, right, top, bottom], ratio) {
  const size = 5 * ratio;
  pen.lineWidth = 2 * ratio;
  pen.setLineDash([]);
  for (const { colour, marks } of lines) {
    for (const mark of marks ?? []) {
      const [x, atY] = place(...mark);
      const y = Math.min(Math.max(atY, top + size), bottom - size);
      if (!(x >= left - 1 && x <= right + 1) || Number.isNaN(y)) continue;
      pen.strokeStyle = colour;
      for (const rise of [-size, size]) path(pen, [[x - size, y - rise], [x + size, y + rise]]).stroke();
    }
  }
}

/** Where the names stand: x, and in which row. */
function legendPlaces(lines, width) {
  let [x, row] = [12, 0];
  return lines.map(({ label }) => {
    const wide = 44 + 7 * label.length;
    if (x > 12 && x + wide > width) [x, row] = [12, row + 1];
    x += wide;
    return [x - wide, row];
  });
}

function drawName(pen, { label, colour, dash }, x, y) {
  pen.strokeStyle = colour;
  pen.lineWidth = 3;
  pen.setLineDash(dash ?? []);
  path(pen, [[x, y + 6], [x + 20, y + 6]]).stroke();
  pen.fillStyle = themed("--text");
  pen.fillText(label, x + 26, y + 10);
}
