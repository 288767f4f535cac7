// A sweep: curves, runs, settings against the outcome, comparison; all live.

import { BASE, get } from "./api.js";
import { ComparisonPanel } from "./comparison.js";
import { controlButtons } from "./controls.js";
import { CurvesPanel } from "./curves_panel.js";
import { el, fill, setText, throttled } from "./dom.js";
import { FinalValues } from "./final_values.js";
import { counted, duration, moment, STATES } from "./format.js";
import { labelButton } from "./labels.js";
import { LivePage } from "./live_page.js";
import { filterTerms } from "./filter.js";
import { ParallelCoordinates } from "./parallel.js";
import { RunsTable } from "./runs_table.js";
import { SweepData, rowMetric } from "./sweep_data.js";
import { tabs } from "./tabs.js";
import * as view from "./view_state.js";

const TABS = [
  ["runs", "Runs"],
  ["parallel", "Parallel coordinates"],
  ["final", "Final values"],
  ["comparison", "Comparison"],
];
const MOST_BESIDE = 8;
const FINALS_EVERY_MS = 5_000;

export class SweepPage extends LivePage {
  async start() {
    this.loadFinals = throttled(FINALS_EVERY_MS, () => this.readFinals());
    const query = () => ({ epoch: this.data.epoch, since: this.data.version });
    await this.follow(`sweeps/${this.id}`, `sweep/${this.id}`, query);
  }

  open(whole) {
    this.data = new SweepData(whole);
    this.build();
    this.update();
  }

  news(content) {
    if (!content.rows.length && content.version === this.data.version) return;
    this.data.apply(content);
    this.update();
  }

  renew(whole) {
    this.data = new SweepData(whole);
    this.curves.reset();
    this.drawLabels();
    this.update();
  }

  build() {
    const { sweeps } = this.data;
    this.labels = el("div");
    this.drawLabels();
    this.summary = el("p", { class: "faint" });
    this.bar = el("div", { class: "statebar", "aria-hidden": "true" });
    const curves = el("section", { "aria-label": "Curves" });
    const table = el("div");
    const area = tabs("Views of the runs", TABS, view.read("tab", "runs"), (key) => this.choose(key));
    this.tableBox = table;
    this.panelBox = area.panel;
    this.table = new RunsTable(table, this.id, {
      onFilter: (runs, isNarrowed) => this.onFilter(runs, isNarrowed),
      onSelect: () => this.tellAim(),
    });
    this.beside = el("a", { hidden: true }, "Show the selected runs side by side");
    this.controls = this.server.read_only
      ? el("p", { class: "faint" }, "Read-only: nothing can be changed from here.")
      : el("div", { class: "row act" },
          (this.aim = el("span", { class: "faint" })),
          (this.buttons = controlButtons(() => this.target())).root,
          sweeps.length === 1 && labelButton(() => ({ ...this.data.sweeps[0], sweep: Number(this.id) }), () => this.reload()),
        );
    fill(this.root,
      this.labels,
      this.bar,
      this.summary,
      (this.growth = el("p", { class: "note-text" })),
      el("details", { class: "about" },
        el("summary", {}, "How it was made"),
        sweeps.map(({ command }) => el("pre", { class: "wrap", tabindex: "0" }, command)),
        commonSettings(this.data),
      ),
      curves,
      area.list,
      this.controls,
      this.beside,
      table,
      area.panel,
    );
    this.curves = new CurvesPanel(curves, this.id, { axes: this.server.axes, onMetric: () => this.onMetric() });
    this.showing = null;
    area.start();
  }

  /** What people call the sweep. */
  drawLabels() {
    const { sweeps, cautions } = this.data;
    const title = ({ name, id }) => name || `Sweep ${id}`;
    const link = (sweep) => el("a", { href: `${BASE}sweeps/${sweep.id}` }, title(sweep));
    const heading = sweeps.length > 1 ? `${sweeps.length} sweeps together` : title(sweeps[0]);
    document.title = `${heading} · hlbq`;
    fill(this.labels,
      el("h1", {}, heading),
      sweeps.map((sweep) => [
        sweeps.length > 1 && el("p", {}, `Sweep ${sweep.id}: `, link(sweep)),
        sweep.tags.length ? el("p", { class: "faint" }, sweep.tags.join(" · ")) : null,
        sweep.note && el("p", { class: "note-text" }, sweep.note),
      ]),
      cautions.map((caution) => el("p", { class: "warning" }, `${caution}.`)),
    );
  }

  choose(key) {
    view.write({ tab: key }, { tab: "runs" });
    this.tab = key;
    this.showing?.destroy();
    fill(this.panelBox);
    // The table is the panel of the first tab; its filter and selection outlive the others.
    this.tableBox.hidden = key !== "runs";
    const kinds = {
      parallel: () => new ParallelCoordinates(this.panelBox, (at, wanted) => this.brush(at, wanted)),
      final: () => new FinalValues(this.panelBox),
      comparison: () => new ComparisonPanel(this.panelBox, this.id),
    };
    this.showing = kinds[key]?.() ?? null;
    this.panelBox.hidden = key === "runs";
    if (this.table.data) this.updatePanel();
  }

  update() {
    const { sweeps, counts, secondsLeft, spent, arms } = this.data;
    const total = Object.values(counts).reduce((a, b) => a + b, 0);
    const parts = STATES.filter((state) => counts[state]).map(
      (state) => `${counts[state].toLocaleString("en-US")} ${state}`,
    );
    const left = counts.pending + counts.running && secondsLeft ? ` · about ${duration(secondsLeft)} left` : "";
    setText(this.summary,
      `${sweeps.length > 1 ? "" : `Sweep ${this.id} · `}${counted(arms.size, "arm")}, ${counted(total, "run")}: ${parts.join(", ")}${left}${spent && ` · ${spent}`} · submitted ${moment(sweeps.at(-1).created_at)}`,
    );
    setText(this.growth, this.data.growth.join("\n"));
    drawStates(this.bar, counts, total);
    this.table.show(this.data);
    this.tellAim();
  }

  onFilter(runs, isNarrowed) {
    this.filtered = runs;
    const arms = isNarrowed ? [...new Set(runs.map((run) => run[this.data.place.arm]))] : null;
    this.curves.show(this.data, arms);
    this.updatePanel();
  }

  onMetric() {
    this.finals = null;
    this.updatePanel();
  }

  updatePanel() {
    if (this.tab === "comparison") this.showing.show(this.data, this.curves.metric);
    if (this.tab !== "parallel" && this.tab !== "final") return;
    if (!rowMetric(this.curves.metric)) this.loadFinals();
    this.showing.show(this.axes());
  }

  /** Settings and metric by run, of the filtered runs that have a newest value; of those that diverged, it is null. */
  axes() {
    const { place, settings } = this.data;
    const own = rowMetric(this.curves.metric);
    const newest = own ? (run) => run[place[own]] : (run) => this.finals?.get(run[place.id]);
    const hasDiverged = (run) => run[place.reason] === "diverged" || typeof newest(run) === "string";
    const runs = this.filtered.filter((run) => typeof newest(run) === "number" || hasDiverged(run));
    const axes = settings.map((name, which) => ({
      title: name,
      values: runs.map((run) => this.data.arm(run).values[which]),
    }));
    const title = this.data.metrics[this.curves.metric] ?? this.curves.metric;
    const values = runs.map((run) => (hasDiverged(run) ? null : newest(run)));
    return { settings: axes, metric: { title, values }, runs: runs.map((run) => run[place.id]) };
  }

  /** What was picked along an axis of parallel coordinates is a condition of the filter; null takes such away. */
  brush(at, wanted) {
    const names = [...this.data.settings, rowMetric(this.curves.metric) ?? this.curves.metric];
    const gone = wanted ? [names[at]] : names;
    const isGone = (term) => gone.some((name) => term.startsWith(name) && /^[<>]?=/.test(term.slice(name.length)));
    const terms = filterTerms(this.table.filterBox.value).filter((term) => !isGone(term));
    const { low, high, words = low === high ? [low] : null } = wanted ?? {};
    if (wanted) terms.push(...(words ? [`${names[at]}=${words.join("|")}`] : [`${names[at]}>=${low}`, `${names[at]}<=${high}`]));
    this.table.filterBox.value = terms.map((term) => (/\s/.test(term) ? `"${term}"` : term)).join(" ");
    this.table.setFilter(this.table.filterBox.value);
  }

  async readFinals() {
    const { metric } = this.curves;
    try {
      const { values } = await get(`sweeps/${this.id}/finals?metric=${encodeURIComponent(metric)}`);
      if (this.isOver || metric !== this.curves.metric) return;
      this.finals = new Map(values);
      this.data.readers.set(metric, (run) => this.finals?.get(run[this.data.place.id]));
      if (this.tab === "parallel" || this.tab === "final") this.showing.show(this.axes());
    } catch {
      // The curves panel tells of a metric that can't be had.
    }
  }

  /** What the control buttons act on: the selected runs, else the whole sweep. */
  target() {
    const { place, runs } = this.data;
    const selected = [...this.table.selected];
    const meant = selected.length ? selected.map((id) => runs.get(id)) : [...runs.values()];
    const priority = meant.reduce((most, run) => Math.max(most, run[place.priority]), 0);
    const states = [...new Set(meant.map((run) => run[place.state]))];
    const about = { sweeps: this.data.sweeps.map(({ id }) => id), runs: selected, priority, states, paused: meant.some((run) => run[place.paused] && /ing$/.test(run[place.state])) };
    const words = selected.length ? `the ${counted(selected.length, "selected run")}` : `sweep${runs.size && this.data.sweeps.length > 1 ? "s" : ""} ${this.id.replaceAll(",", ", ")}`;
    return { ...about, words };
  }

  tellAim() {
    this.buttons?.update();
    const selected = [...this.table.selected];
    this.beside.hidden = selected.length < 2 || selected.length > MOST_BESIDE;
    this.beside.setAttribute("href", `${BASE}compare?runs=${selected.join(",")}`);
    if (this.aim)
      setText(this.aim,
        this.table.selected.size ? `${counted(this.table.selected.size, "selected run")}:` : "All runs:",
      );
  }

  destroy() {
    super.destroy();
    this.loadFinals.stop();
    this.curves?.destroy();
    this.table?.loadValues.stop();
    this.showing?.destroy();
  }
}

/** A bar whose parts are the runs by state. */
export function drawStates(bar, counts, total) {
  fill(bar,
    STATES.toReversed()
      .filter((state) => counts[state])
      .map((state) => {
        const part = el("span", { class: state, title: `${counts[state]} ${state}` });
        part.style.flexGrow = counts[state];
        return part;
      }),
  );
  bar.hidden = !total;
}

function commonSettings(data) {
  const names = Object.keys(data.common);
  return el("div", {},
    el("p", { class: "faint" }, "Settings that all runs share:"),
    el("dl", { class: "settings" },
      names.map((name) => el("div", {}, el("dt", {}, name), el("dd", {}, data.common[name] ?? "none"))),
    ),
  );
}
