// Runs side by side: what differs, their curves over each other, and how their code differs.

import { BASE, get } from "./api.js";
import { el, fill, plainTable, repeated } from "./dom.js";
import { loss } from "./format.js";
import { LivePage } from "./live_page.js";
import { MetricCharts } from "./metric_charts.js";
import * as view from "./view_state.js";

const AGAIN_MS = 5_000;

export class ComparePage extends LivePage {
  async start() {
    document.title = "Runs side by side · hlbq";
    const { runs, rows, diffs } = await get(`compare?${new URLSearchParams({ runs: view.read("runs") })}`, this.signal);
    const named = runs.map(({ id }) => ({ id, name: `run ${id}` }));
    this.charts = new MetricCharts(named, this.server.axes, this.signal);
    const links = named.map(({ id, name }) => el("a", { href: `${BASE}runs/${id}` }, name));
    const own = ["state", "train_loss", "val_loss"].map((name) => [name, ...runs.map((run) => loss(run[name]))]);
    fill(this.root,
      el("h1", {}, "Runs side by side"),
      plainTable("What differs", ["what", ...links], [...rows, ...own]),
      el("h2", {}, "Curves"),
      this.charts.root,
      diffs.map(({ title, lines, problem }) => [
        el("h2", {}, `From the ${title}`),
        lines.length ? el("pre", { tabindex: "0", role: "region", "aria-label": title }, lines.join("\n")) : null,
        problem && el("p", { class: "faint" }, problem),
      ]),
    );
    await this.readCurves();
    if (runs.some((run) => run.state === "running")) repeated(AGAIN_MS, () => this.readCurves(), this.signal);
  }

  async readCurves() {
    const status = await this.charts.load();
    if (!this.signal.aborted) this.connection.state({ 0: "lost", 401: "refused" }[status] ?? "live");
  }
}
