// Devices over time: use, memory and temperature, as their drivers reported them to the workers.

import { get } from "./api.js";
import { captionedChart } from "./chart.js";
import { lineStyle } from "./colours.js";
import { el, fill, repeated } from "./dom.js";

const AGAIN_MS = 30_000;

/** Charts in `root` of what `path` answers, read again as long as `isLive()`; `none` is said where there is nothing. */
export class DeviceCharts {
  constructor(path, { signal, none, isLive = () => true }) {
    Object.assign(this, { path, signal, none });
    this.root = el("div");
    repeated(AGAIN_MS, () => isLive() && this.load(), signal);
    this.load();
  }

  async load() {
    const found = await get(this.path, this.signal).catch(() => null);
    if (found) this.draw(found.devices);
  }

  draw(devices) {
    const figures = devices.flatMap(({ title, at, ...measured }) =>
      Object.entries(measured)
        .filter(([, y]) => y.some((value) => value !== null))
        .map(([name, y]) => ({ title, name, at, y })),
    );
    const names = JSON.stringify(figures.map(({ title, name }) => [title, name]));
    if (names !== this.names) {
      this.names = names;
      this.charts = figures.map(({ name }) => captionedChart(name, { signal: this.signal, height: 160, legend: false }));
      const grids = Map.groupBy(this.charts.keys(), (at) => figures[at].title);
      fill(this.root,
        [...grids].map(([title, places]) => [
          el("h3", {}, title),
          el("div", { class: "figures" }, places.map((at) => this.charts[at].figure)),
        ]),
        !figures.length && el("p", { class: "faint" }, this.none),
      );
    }
    figures.forEach(({ name, at, y }, place) => this.charts[place].chart.draw(() => content(name, at, y)));
  }
}

function content(title, x, y) {
  const line = { key: title, label: title, x, y, width: 1.5, colour: lineStyle(0).colour };
  return { title, xLabel: "time", timeX: true, lines: [line] };
}
