// The comparison of a sweep's arms, with verdicts, as `hlbq compare` makes it.

import { get } from "./api.js";
import { el, fill, labelledSelect, plainTable } from "./dom.js";
import * as view from "./view_state.js";

const MOST_SENTENCES = 20;

/** Shows into `root`; `show(data, metric)` asks anew. */
export class ComparisonPanel {
  constructor(root, sweepId) {
    this.sweepId = sweepId;
    this.content = el("div", { "aria-live": "polite" });
    this.bar = el("div", { class: "row" });
    fill(root, this.bar, this.content);
  }

  show(data, metric) {
    if (this.asked === metric && this.data === data) return;
    this.data = data;
    this.asked = metric;
    this.drawBar();
    this.load();
  }

  drawBar() {
    const options = [["", "the sweep's own"], ...baselines(this.data)];
    const field = labelledSelect("Baseline", options, view.read("baseline"), (value) => {
      view.write({ baseline: value });
      this.load();
    });
    const groupings = [["", "all settings that differ"], ...this.data.settings.map((name) => [name, name])];
    const by = labelledSelect("Groups", groupings, view.read("group"), (value) => {
      view.write({ group: value });
      this.load();
    });
    const again = el("button", { type: "button", on: { click: () => this.load() } }, "Compare again");
    fill(this.bar, field.root, groupings.length > 2 ? by.root : null, again);
  }

  async load() {
    const number = (this.number = (this.number ?? 0) + 1);
    fill(this.content, el("p", { class: "faint" }, "Comparing …"));
    const query = new URLSearchParams({ metric: this.asked });
    if (view.read("group")) query.set("by", view.read("group"));
    try {
      for (const part of view.read("baseline").split("&").filter(Boolean))
        query.append("baseline", decodeURIComponent(part));
      const found = await get(`sweeps/${this.sweepId}/comparison?${query}`);
      if (number === this.number) this.draw(found);
    } catch (error) {
      const words = error instanceof URIError ? "the address names no baseline; choose one above" : error.message;
      if (number === this.number)
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
        el("details", {},
          el("summary", {}, `${sentences.length - MOST_SENTENCES} more`),
          sentenceList(sentences.slice(MOST_SENTENCES)),
        ),
      tables.length > 1 &&
        el("p", { class: "faint" },
          "Looks from this page are not written down, as it only reads; the always-valid numbers hold however often one looks.",
        ),
    );
  }

  destroy() {
    this.number = -1;
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
function baselines(data) {
  const arms = [...data.arms.values()];
  const found = [];
  data.settings.forEach((name, which) => {
    for (const value of new Set(arms.map((arm) => arm.values[which]))) {
      if (value !== null) found.push([encodeURIComponent(`${name}=${value}`), `${name} ${value}`]);
    }
  });
  if (data.settings.length > 1) {
    for (const arm of arms.slice(0, 200)) {
      const parts = data.settings.map((name, which) => `${name}=${arm.values[which]}`);
      if (arm.values.every((value) => value !== null)) found.push([parts.map(encodeURIComponent).join("&"), arm.label]);
    }
  }
  return found;
}
