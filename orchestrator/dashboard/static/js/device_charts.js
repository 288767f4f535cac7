// Devices over time: use, memory and temperature, as their drivers reported them to the workers.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { lineStyle, onThemeChange } from "./colours.js";
import { el, fill } from "./dom.js";

const AGAIN_MS = 30_000;

/** Charts in `root` of what `path` answers, read again as long as `isLive()`; `none` is said where there is nothing. */
export class DeviceCharts {
  constructor(path, { isLive, none }) {
    Object.assign(this, { path, isLive, none });
    this.root = el("div");
    this.charts = new Map();
    this.timer = setInterval(() => this.isLive() && this.load(), AGAIN_MS);
    this.unTheme = onThemeChange(() => this.draw());
    this.load();
  }

  async load() {
    const found = await get(this.path).catch(() => null);
    if (!found || this.isOver) return;
    this.devices = found.devices;
    this.draw();
  }

  draw() {
    if (!this.devices) return;
    const titles = JSON.stringify(this.devices.map(({ title }) => title));
    if (titles !== this.titles) {
      this.titles = titles;
      this.clear();
      fill(this.root, this.devices.length ? null : el("p", { class: "faint" }, this.none));
    }
    for (const { title, at, ...measured } of this.devices) {
      for (const [name, y] of Object.entries(measured)) {
        if (y.some((value) => value !== null)) this.chart(title, name).draw(content(name, at, y));
      }
    }
  }

  chart(title, name) {
    const key = `${title} ${name}`;
    if (!this.charts.has(key)) {
      let grid = [...this.root.querySelectorAll(".figures")].find((other) => other.dataset.device === title);
      if (!grid) {
        grid = el("div", { class: "figures", "data-device": title });
        this.root.append(el("h3", {}, title), grid);
      }
      const box = el("div");
      grid.append(el("figure", {}, el("figcaption", {}, name), box));
      this.charts.set(key, new Chart(box, { height: 160, legend: false }));
    }
    return this.charts.get(key);
  }

  clear() {
    for (const chart of this.charts.values()) chart.destroy();
    this.charts.clear();
  }

  destroy() {
    this.isOver = true;
    clearInterval(this.timer);
    this.unTheme();
    this.clear();
  }
}

function content(title, x, y) {
  const line = { key: title, label: title, x, y, width: 1.5, colour: lineStyle(0).colour };
  return { title, xLabel: "time", timeX: true, lines: [line] };
}
