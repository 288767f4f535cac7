// The table of a sweep's runs: filtered, sorted, a page at a time, kept up to date in place; its columns are chosen.

import { BASE, get } from "./api.js";
import { tell } from "./dialogs.js";
import { el, fill, labelledCheck, labelledSelect, pager, setText, throttled } from "./dom.js";
import { counted } from "./format.js";
import { csv, download } from "./saving.js";
import * as view from "./view_state.js";

const RUNS_A_PAGE = 50;
const VALUES_EVERY_MS = 5_000;
const MOMENTS = ["last", "best", "min", "max", "at"].map((moment) => [moment, moment === "at" ? "at step" : moment]);
const DEFAULTS = { sort: "run", page: 1 };

/** `onFilter(runs)` hears the runs that pass the filter; `onSelect()` that others are selected. */
export class RunsTable {
  constructor(root, sweepId, { onFilter, onSelect }) {
    Object.assign(this, { sweepId, onFilter, onSelect, values: new Map(), selected: new Set(), data: null });
    this.loadValues = throttled(VALUES_EVERY_MS, () => this.readValues());
    this.sort = view.read("sort", DEFAULTS.sort);
    this.filterBox = el("input", {
      type: "search",
      id: "filter",
      placeholder: "depth=4 state=failed val_loss<3.5",
      value: view.read("filter"),
      spellcheck: "false",
      on: { input: () => this.setFilter(this.filterBox.value) },
    });
    this.problem = el("p", { class: "problem", role: "status" });
    this.told = el("p", { class: "faint", role: "status" });
    this.head = el("tr");
    this.chooser = el("div", { class: "row" });
    this.body = el("tbody");
    const page = Math.floor(Number(view.read("page", "1"))) || 1;
    this.pager = pager("runs", RUNS_A_PAGE, (begin, end, at) => this.drawPage(begin, end, at), page);
    const table = el("table", { class: "runs" },
      el("caption", { class: "sr-only" }, "Runs"),
      el("thead", {}, this.head),
      this.body,
    );
    fill(root,
      el("div", { class: "row" },
        el("label", { class: "field grow" }, el("span", {}, "Filter runs"), this.filterBox),
        this.told,
        el("button", { type: "button", on: { click: () => this.download() } }, "Download CSV"),
      ),
      this.problem,
      el("details", {}, el("summary", {}, "Columns"), this.chooser),
      el("div", { class: "table-scroll tall", tabindex: "0", role: "region", "aria-label": "Runs" }, table),
      this.pager.root,
    );
  }

  /** Show `data` (a SweepData), anew or after changes. */
  show(data) {
    const isNew = this.data !== data;
    this.data = data;
    data.values = this.values;
    if (isNew) {
      this.choose();
      // Another database may stand where the first one did, with fewer runs.
      this.selected = new Set([...this.selected].filter((id) => data.runs.has(id)));
    }
    this.update();
    this.loadValues();
    this.onFilter(this.found.runs, Boolean(this.filterBox.value.trim()));
  }

  /** Take the columns that the address names. */
  choose() {
    this.columns = this.data.chosen(view.read("cols").split(",").filter(Boolean));
    this.drawHead();
    fill(this.body);
    const keys = this.columns.map((column) => column.key);
    const set = (chosen) => {
      view.write({ cols: chosen.join(",") });
      this.choose();
      this.update();
      this.loadValues();
    };
    const metric = labelledSelect("Column of", Object.keys(this.data.metrics).map((name) => [name, name]), "val_loss", () => {});
    const moment = labelledSelect("Value", MOMENTS, "best", (value) => (step.hidden = value !== "at"));
    const number = el("input", { type: "number", min: "0", value: "100" });
    const step = el("label", { class: "field", hidden: true }, el("span", {}, "Step"), number);
    const add = () => {
      const at = moment.select.value === "at" ? `~${Math.max(0, Math.floor(number.value))}` : "";
      set([...new Set([...keys, `${metric.select.value}~${moment.select.value}${at}`])]);
    };
    const offered = [...this.data.columns, ...this.columns.filter((column) => column.key.includes("~"))];
    fill(this.chooser,
      offered.slice(1).map(({ key, title }) =>
        labelledCheck(title, keys.includes(key), (isOn) =>
          set(offered.map((one) => one.key).filter((one) => (one === key ? isOn : keys.includes(one)))),
        ).root,
      ),
      metric.root,
      moment.root,
      step,
      el("button", { type: "button", on: { click: add } }, "Add column"),
      el("button", { type: "button", on: { click: () => set([]) } }, "Usual columns"),
    );
  }

  /** Ask for the values of the metrics' columns. */
  async readValues() {
    for (const { key } of this.columns.filter((column) => column.key.includes("~"))) {
      const [metric, moment, step] = key.split("~");
      try {
        const asked = new URLSearchParams({ metric, moment, step: step ?? 0 });
        const { values } = await get(`sweeps/${this.sweepId}/finals?${asked}`);
        this.values.set(key, new Map(values));
      } catch (error) {
        if (!this.values.has(key)) tell(`${error.message} ${error.hint ?? ""}`, true);
        this.values.set(key, this.values.get(key) ?? new Map());
      }
      this.update();
    }
  }

  /** The filtered runs as they stand, with whole numbers, as a file. */
  download() {
    const rows = this.shown.map((run) => this.columns.map((column) => column.read(run)));
    const text = csv([this.columns.map((column) => column.title), ...rows]);
    download(`sweep-${this.sweepId}.csv`, text, "text/csv");
  }

  setFilter(text) {
    view.write({ filter: text });
    this.update(1);
    this.onFilter(this.found.runs, Boolean(text.trim()));
  }

  sortBy(key) {
    this.sort = this.sort === key ? `-${key}` : key;
    view.write({ sort: this.sort }, DEFAULTS);
    this.drawHead();
    this.update(1);
    this.head.querySelector(`button[data-key="${CSS.escape(key)}"]`)?.focus();
  }

  drawHead() {
    const key = this.sort.replace(/^-/, "");
    const direction = this.sort.startsWith("-") ? "descending" : "ascending";
    const all = el("input", {
      type: "checkbox",
      "aria-label": "Select all runs that pass the filter",
      on: { change: () => this.select(this.found.runs.map((run) => run[this.data.place.id]), all.checked) },
    });
    this.allBox = all;
    const header = (column) => {
      const arrow = column.key !== key ? "" : direction === "ascending" ? " ▲" : " ▼";
      const sort = { type: "button", "data-key": column.key, on: { click: () => this.sortBy(column.key) } };
      return el("th",
        { scope: "col", class: column.numeric ? "numeric" : "", "aria-sort": column.key === key ? direction : "none" },
        el("button", sort, column.title, el("span", { class: "arrow", "aria-hidden": "true" }, arrow)),
      );
    };
    fill(this.head, el("th", { scope: "col", class: "tick" }, all), this.columns.map(header));
  }

  /** Draw the runs again, those of `page` or of the present one. */
  update(page) {
    this.found = this.data.filtered(this.filterBox.value);
    this.shown = this.sorted(this.found.runs);
    const runs = this.shown;
    this.pager.show(runs.length, page);
    const total = this.data.runs.size;
    setText(this.told,
      runs.length === total
        ? counted(total, "run")
        : `${runs.length.toLocaleString("en-US")} of ${counted(total, "run")}`,
    );
    setText(this.problem, this.found.problems.join("; "));
    this.allBox.checked = runs.length > 0 && runs.every((run) => this.selected.has(run[this.data.place.id]));
  }

  sorted(runs) {
    const column = this.columns.find((one) => one.key === this.sort.replace(/^-/, "")) ?? this.columns[0];
    const sign = this.sort.startsWith("-") ? -1 : 1;
    return runs
      .map((run) => [column.read(run), run])
      .sort(([a], [b]) => compared(a, b, sign))
      .map(([, run]) => run);
  }

  drawPage(begin, end, page) {
    const runs = this.shown.slice(begin, end);
    view.write({ page }, DEFAULTS);
    while (this.body.children.length > runs.length) this.body.lastChild.remove();
    runs.forEach((run, place) => {
      const row = this.body.children[place] ?? this.body.appendChild(this.newRow());
      this.fillRow(row, run);
    });
  }

  newRow() {
    const box = el("input", { type: "checkbox", on: { change: () => this.select([Number(box.value)], box.checked) } });
    // A row opens its run; its boxes and links are left alone, and so is text that is being marked.
    const open = (event) => {
      const isMarking = String(document.getSelection()).length > 0;
      if (!isMarking && !event.target.closest("a, input, label")) event.currentTarget.querySelector("a.run").click();
    };
    return el("tr", { on: { click: open } },
      el("td", { class: "tick" }, box),
      this.columns.map((column, place) =>
        el("td", { class: column.numeric ? "numeric" : column.key === "error" ? "error-cell" : "" },
          place ? null : el("a", { class: "run" }),
        ),
      ),
    );
  }

  fillRow(row, run) {
    const { place } = this.data;
    const id = run[place.id];
    const box = row.firstChild.firstChild;
    box.value = id;
    box.checked = this.selected.has(id);
    box.setAttribute("aria-label", `Select run ${id}`);
    this.columns.forEach((column, at) => {
      const cell = row.children[at + 1];
      if (column.key === "run") {
        setText(cell.firstChild, String(id));
        cell.firstChild.setAttribute("href", `${BASE}runs/${id}`);
      } else if (column.key === "state") {
        setText(cell, this.data.stateText(run));
        cell.className = `state ${run[place.state]}`;
      } else {
        const value = column.show ? column.show(run) : column.read(run);
        setText(cell, value === null || value === undefined ? "" : String(value));
        if (column.key === "error" && cell.title !== cell.textContent) cell.title = cell.textContent;
      }
    });
  }

  select(ids, isOn) {
    for (const id of ids) this.selected[isOn ? "add" : "delete"](id);
    this.update();
    this.onSelect();
  }
}

/** Numbers before words before nothing, whichever way is up; what is equal keeps its order. */
function compared(a, b, sign) {
  const [kindA, kindB] = [kind(a), kind(b)];
  if (kindA !== kindB) return kindA - kindB;
  if (kindA === 2 || a === b) return 0;
  return (kindA === 0 ? a - b : String(a).localeCompare(String(b), "en", { numeric: true })) * sign;
}

function kind(value) {
  return typeof value === "number" ? 0 : value === null || value === undefined || value === "" ? 2 : 1;
}
