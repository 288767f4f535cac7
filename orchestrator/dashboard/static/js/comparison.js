// The comparison of a sweep's arms, with verdicts, as `hlbq compare` makes it.

import { get } from "./api.js";
import { button, el, fill, folded, oneAtATime, plainTable } from "./dom.js";
import * as view from "./view_state.js";

const MOST_SENTENCES = 20;
const MOST_ARMS = 200;

/** Shows into `root`; `show(data, metric)` asks anew. */
export class ComparisonPanel {
  constructor(root, signal, sweepId) {
    Object.assign(this, { sweepId, anew: oneAtATime(signal) });
    this.content = el("div", { "aria-live": "polite" });
    this.bar = el("div", { class: "row" });
    fill(root, this.bar, this.content);
  }

  show(data, metric) {
    if (this.asked === metric && this.data === data) return;
    this.data = data;
    this.asked = metric;
    const again = () => this.load();
    const baseline = [["", "the sweep's own"], ...baselines(data)];
    const groups = [["", "all settings that differ"], ...data.settings.map((name) => [name, name])];
    fill(this.bar,
      view.select("Baseline", "baseline", baseline, again),
      groups.length > 2 ? view.select("Groups", "group", groups, again) : null,
      button("Compare again", again),
    );
    this.load();
  }

  async load() {
    const signal = this.anew();
    fill(this.content, el("p", { class: "faint" }, "Comparing …"));
    const query = new URLSearchParams({ metric: this.asked });
    if (view.read("group")) query.set("by", view.read("group"));
    try {
      for (const part of view.read("baseline").split("&").filter(Boolean))
        query.append("baseline", decodeURIComponent(part));
      this.draw(await get(`sweeps/${this.sweepId}/comparison?${query}`, signal));
    } catch (error) {
      if (signal.aborted) return;
      const words = error instanceof URIError ? "the address names no baseline; choose one above" : error.message;
      fill(this.content, el("p", { class: "problem" }, `Not compared: ${words}. ${error.hint ?? ""}`));
    }
  }

  draw({ warnings, tables, sentences }) {
    fill(this.content,
      warnings.map((warning) => el("p", { class: "warning" }, warning)),
      tables.map((table) => [
        el("h2", {}, table.title),
        plainTable(table.title, table.headers, table.rows.map((row) => row.map(verdictCell))),
      ]),
      sentenceList(sentences.slice(0, MOST_SENTENCES)),
      sentences.length > MOST_SENTENCES &&
        folded(`${sentences.length - MOST_SENTENCES} more`, sentenceList(sentences.slice(MOST_SENTENCES))),
      tables.length > 1 &&
        el("p", { class: "faint" },
          "This page only reads, so it does not record looks. The always-valid numbers hold however often you look.",
        ),
    );
  }
}

function sentenceList(sentences) {
  return el("ul", { class: "sentences" }, sentences.map((sentence) => el("li", {}, sentence)));
}

const VERDICTS = new Set(["better", "worse", "undecided", "higher", "lower"]);

function verdictCell(text) {
  return VERDICTS.has(text) ? el("span", { class: `verdict ${text}` }, text) : text;
}

/** What may be the baseline: every value of a setting that differs, and every arm where several differ. */
function baselines({ arms, settings }) {
  const whole = [...arms.values()].filter((arm) => arm.values.every((value) => value !== null));
  const part = (arm, which) => encodeURIComponent(`${settings[which]}=${arm.values[which]}`);
  const values = settings.flatMap((name, which) =>
    [...arms.values()]
      .filter((arm) => arm.values[which] !== null)
      .map((arm) => [part(arm, which), `${name} ${arm.values[which]}`]),
  );
  const combined = whole.slice(0, MOST_ARMS).map((arm) => [settings.map((_, which) => part(arm, which)).join("&"), arm.label]);
  return [...new Map(values), ...(settings.length > 1 ? combined : [])];
}
