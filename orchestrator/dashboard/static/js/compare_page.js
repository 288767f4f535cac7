// Runs side by side: what differs, their curves over each other, and how their code differs.

import { BASE, get } from "./api.js";
import { el, fill, plainTable, redrawn, repeated } from "./dom.js";
import { isOpen, loss } from "./format.js";
import { LivePage } from "./live_page.js";
import { MetricCharts } from "./metric_charts.js";
import * as view from "./view_state.js";

const AGAIN_MS = 5_000;

export class ComparePage extends LivePage {
  async start() {
    document.title = "Runs side by side · hlbq";
    this.path = `compare?${new URLSearchParams({ runs: view.read("runs") })}`;
    const found = await get(this.path, this.signal);
    const named = found.runs.map(({ id }) => ({ id, name: `run ${id}` }));
    this.charts = new MetricCharts(named, this.server.axes, this.signal);
    this.table = el("div");
    fill(this.root,
      el("h1", {}, "Runs side by side"),
      this.table,
      el("h2", {}, "Curves"),
      this.charts.root,
      found.diffs.map(({ title, lines, problem }) => [
        el("h2", {}, `From the ${title}`),
        lines.length ? el("pre", { tabindex: "0", role: "region", "aria-label": title }, lines.join("\n")) : null,
        problem && el("p", { class: "faint" }, problem),
      ]),
    );
    this.renew(found);
    await this.readCurves();
    repeated(AGAIN_MS, () => this.runs.some(isOpen) && Promise.all([this.reload(), this.readCurves()]), this.signal);
  }

  renew({ runs, rows }) {
    this.runs = runs;
    const links = runs.map(({ id }) => el("a", { href: `${BASE}runs/${id}` }, `run ${id}`));
    const own = ["state", "train_loss", "val_loss"].map((name) => [name, ...runs.map((run) => loss(run[name]))]);
    redrawn(this.table, () => fill(this.table, plainTable("What differs", ["what", ...links], [...rows, ...own])));
  }

  async readCurves() {
    const status = await this.charts.load();
    if (!this.signal.aborted) this.connection.state({ 0: "lost", 401: "refused" }[status] ?? "live");
  }
}
