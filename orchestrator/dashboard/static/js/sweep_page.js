// A sweep: curves, runs, settings against the outcome, comparison; all live.

import { BASE } from "./api.js";
import { ComparisonPanel } from "./comparison.js";
import { controlRow } from "./controls.js";
import { CurvesPanel } from "./curves_panel.js";
import { definitions, el, fill, folded, oneAtATime, setText, statesBar } from "./dom.js";
import { FinalValues } from "./final_values.js";
import { counted, countsText, duration, isOpen, leftOut, moment } from "./format.js";
import { LivePage } from "./live_page.js";
import { ParallelCoordinates } from "./parallel.js";
import { RunsTable } from "./runs_table.js";
import { SweepData, filterTerms, newestKey } from "./sweep_data.js";
import { tabs } from "./tabs.js";
import * as view from "./view_state.js";

const TABS = [
  ["runs", "Runs"],
  ["parallel", "Parallel coordinates"],
  ["final", "Final values"],
  ["comparison", "Comparison"],
];
const MOST_BESIDE = 8;

export class SweepPage extends LivePage {
  async start() {
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
    this.choose(this.tab); // other settings, other axes
  }

  build() {
    const { sweeps } = this.data;
    [this.labels, this.shared] = [el("div"), el("div")];
    this.drawLabels();
    this.summary = el("p", { class: "faint" });
    this.bar = el("div");
    const curves = el("section", { "aria-label": "Curves" });
    const table = (this.tableBox = el("div"));
    const area = tabs("Views of the runs", TABS, view.read("tab", "runs"), (key) => this.choose(key));
    this.panelBox = area.panel;
    this.table = new RunsTable(table, this.id, {
      onFilter: (runs, isNarrowed) => this.onFilter(runs, isNarrowed),
      onSelect: () => this.tellAim(),
      signal: this.signal,
    });
    this.beside = el("a", { hidden: true }, "Show the selected runs side by side");
    this.aim = el("span", { class: "faint" });
    this.controls = controlRow(this.server, {
      aim: this.aim,
      target: () => this.target(),
      labels: sweeps.length === 1 && (() => ({ ...this.data.sweeps[0], sweep: this.data.sweeps[0].id })),
      onLabelled: () => this.reload(),
    });
    fill(this.root,
      this.labels,
      this.bar,
      this.summary,
      (this.growth = el("p", { class: "note-text" })),
      folded("How it was made", [
        sweeps.map(({ command }) => el("pre", { class: "wrap", tabindex: "0" }, command)),
        el("p", { class: "faint" }, "Settings that all runs share:"),
        this.shared,
      ]),
      curves,
      area.list,
      this.controls.root,
      this.beside,
      table,
      area.panel,
    );
    const { axes } = this.server;
    this.curves = new CurvesPanel(curves, this.id, { axes, signal: this.signal, onMetric: () => this.askPanel() });
    this.shown = oneAtATime(this.signal);
    area.start();
  }

  /** What people call the sweep, and what its runs share. */
  drawLabels() {
    const { sweeps, cautions, common } = this.data;
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
    fill(this.shared, definitions("settings", Object.entries(common).map(([name, value]) => [name, value ?? "none"])));
  }

  choose(key) {
    view.write({ tab: key }, { tab: "runs" });
    this.tab = key;
    const signal = this.shown();
    fill(this.panelBox);
    // The table is the panel of the first tab; its selection outlives the others. What is compared is not filtered.
    this.table.panel.hidden = key !== "runs";
    this.tableBox.hidden = key === "comparison";
    const kinds = {
      parallel: () => new ParallelCoordinates(this.panelBox, signal, (at, wanted) => this.brush(at, wanted)),
      final: () => new FinalValues(this.panelBox, signal),
      comparison: () => new ComparisonPanel(this.panelBox, signal, this.id),
    };
    this.showing = kinds[key]?.() ?? null;
    this.panelBox.hidden = key === "runs";
    this.askPanel();
  }

  update() {
    const { sweeps, counts, seconds_left: left, spent, arms } = this.data;
    const total = Object.values(counts).reduce((a, b) => a + b, 0);
    const facts = [
      sweeps.length === 1 && `Sweep ${this.id}`,
      `${counted(arms.size, "arm")}, ${counted(total, "run")}: ${countsText(counts)}`,
      counts.pending + counts.running && left && `about ${duration(left)} left`,
      spent,
      `submitted ${moment(sweeps.at(-1).created_at)}`,
    ];
    setText(this.summary, facts.filter(Boolean).join(" · "));
    setText(this.growth, this.data.growth.join("\n"));
    fill(this.bar, statesBar(counts));
    this.table.show(this.data);
    this.tellAim();
  }

  onFilter(runs, isNarrowed) {
    this.filtered = runs;
    const arms = isNarrowed ? [...new Set(runs.map((run) => run.arm))] : null;
    this.curves.show(this.data, arms);
    this.updatePanel();
  }

  /** Another panel, or another metric: ask for what it shows. */
  askPanel() {
    this.table.wanted = this.tab === "parallel" || this.tab === "final" ? newestKey(this.curves.metric) : null;
    if (!this.table.data) return;
    this.table.askValues();
    this.updatePanel();
  }

  updatePanel() {
    if (this.tab === "comparison") this.showing.show(this.data, this.curves.metric);
    else if (this.tab !== "runs") this.showAxes();
  }

  /** Settings and metric by run, of the filtered runs that have a final value or go on; of those that diverged, it is
   * null. */
  showAxes() {
    const { settings, metrics } = this.data;
    const { metric } = this.curves;
    const newest = this.data.newest(metric);
    const hasDiverged = (run) => run.reason === "diverged" || typeof newest(run) === "string";
    const found = this.filtered.filter((run) => typeof newest(run) === "number" || hasDiverged(run));
    const runs = found.filter((run) => isOpen(run) || run.state === "completed" || hasDiverged(run));
    this.showing.show({
      leftOut: leftOut(found.length - runs.length),
      settings: settings.map((title, which) => ({ title, values: runs.map((run) => this.data.arm(run).values[which]) })),
      metric: { title: metrics[metric] ?? metric, values: runs.map((run) => (hasDiverged(run) ? null : newest(run))) },
      runs: runs.map((run) => run.id),
    });
  }

  /** What was picked along an axis of parallel coordinates is a condition of the filter; null takes such away. */
  brush(at, wanted) {
    const names = [...this.data.settings, this.curves.metric];
    const gone = wanted ? [names[at]] : names;
    const isGone = (term) => gone.some((name) => term.startsWith(name) && /^[<>]?=/.test(term.slice(name.length)));
    const terms = filterTerms(this.table.filterBox.value).filter((term) => !isGone(term));
    terms.push(...(wanted ?? []).map((condition) => names[at] + condition));
    this.table.setFilter(terms.map((term) => (/\s/.test(term) ? `"${term}"` : term)).join(" "));
  }

  /** What the control buttons act on: the selected runs, else the whole sweep. */
  target() {
    const { runs, sweeps } = this.data;
    const selected = [...this.table.selected];
    return {
      sweeps: sweeps.map(({ id }) => id),
      runs: selected,
      words: selected.length
        ? `the ${counted(selected.length, "selected run")}`
        : `sweep${sweeps.length > 1 ? "s" : ""} ${this.id.replaceAll(",", ", ")}`,
      of: selected.length ? selected.map((id) => runs.get(id)) : [...runs.values()],
    };
  }

  tellAim() {
    this.controls.update();
    const selected = [...this.table.selected];
    this.beside.hidden = selected.length < 2 || selected.length > MOST_BESIDE;
    this.beside.setAttribute("href", `${BASE}compare?runs=${selected.join(",")}`);
    setText(this.aim, selected.length ? `${counted(selected.length, "selected run")}:` : "All runs:");
  }
}
