// Runs side by side: what differs, their curves over each other, and how their code differs.

import { BASE, get } from "./api.js";
import { onThemeChange } from "./colours.js";
import { el, fill, plainTable } from "./dom.js";
import { loss } from "./format.js";
import { curvesQuery, MetricCharts } from "./metric_charts.js";
import * as view from "./view_state.js";

const AGAIN_MS = 5_000;

export class ComparePage {
  constructor(root, { server, connection }) {
    Object.assign(this, { root, server, connection });
  }

  async start() {
    document.title = "Runs side by side · hlbq";
    this.found = await get(`compare?${new URLSearchParams({ runs: view.read("runs") })}`);
    if (this.isOver) return;
    const { runs, rows, diffs } = this.found;
    this.charts = new MetricCharts(this.server.axes, () => this.readCurves());
    this.unTheme = onThemeChange(() => this.charts.draw(this.charts.runs));
    const links = runs.map(({ id }) => el("a", { href: `${BASE}runs/${id}` }, `run ${id}`));
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
    if (runs.some((run) => run.state === "running")) this.timer = setInterval(() => this.readCurves(), AGAIN_MS);
  }

  async readCurves() {
    const names = this.found.runs.map((run) => run.id);
    try {
      const answers = await Promise.all(names.map((id) => get(`runs/${id}/curves?${curvesQuery()}`)));
      if (this.isOver) return;
      this.connection.state("live");
      this.charts.draw(answers.map((answer, at) => ({ name: `run ${names[at]}`, ...answer })));
    } catch (error) {
      this.connection.state(error.status === 401 ? "refused" : "lost");
    }
  }

  destroy() {
    this.isOver = true;
    clearInterval(this.timer);
    this.unTheme?.();
    this.charts?.destroy();
  }
}
