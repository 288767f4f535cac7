// The table of a sweep's runs: filtered, sorted, a page at a time, kept up to date in place; its columns are chosen.

import { BASE, get } from "./api.js";
import { tell } from "./dialogs.js";
import { button, el, field, fill, folded, labelledCheck, labelledSelect, pager, redrawn, setText, throttled } from "./dom.js";
import * as format from "./format.js";
import { csv, download } from "./saving.js";
import { newestKey } from "./sweep_data.js";
import * as view from "./view_state.js";

const RUNS_A_PAGE = 50;
const VALUES_EVERY_MS = 5_000;
const MOMENTS = ["last", "best", "min", "max", "at"].map((moment) => [moment, moment === "at" ? "at step" : moment]);
const DEFAULTS = { sort: "run", page: 1 };

/**
 * `onFilter(runs)` hears the runs that pass the filter, also when values of metrics have come: of the columns, of the
 * filter, and of `wanted`, the key of another column; `onSelect()` hears that others are selected. `panel` is all but
 * the filter.
 */
export class RunsTable {
  constructor(root, sweepId, { signal, onFilter, onSelect }) {
    Object.assign(this, { sweepId, signal, onFilter, onSelect, data: null, wanted: null });
    Object.assign(this, { values: new Map(), selected: new Set() });
    this.loadValues = throttled(VALUES_EVERY_MS, () => this.readValues(), signal);
    this.sort = view.read("sort", DEFAULTS.sort);
    const filter = view.filterBox("Filter runs", "depth=4 state=failed val_loss<3.5", () => {
      this.narrow(1);
      this.askValues();
    });
    this.filterBox = filter.control;
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
        filter,
        this.told,
        button("Download CSV", () => this.download()),
      ),
      this.problem,
      (this.panel = el("div", {},
        folded("Columns", this.chooser),
        el("div", { class: "table-scroll tall", tabindex: "0", role: "region", "aria-label": "Runs" }, table),
        this.pager.root,
      )),
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
    this.narrow();
    this.askValues();
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
      this.askValues();
    };
    const metric = labelledSelect("Column of", Object.keys(this.data.metrics).map((name) => [name, name]), "val_loss");
    const moment = labelledSelect("Value", MOMENTS, "best", (value) => (step.hidden = value !== "at"));
    const number = el("input", { type: "number", min: "0", value: "100" });
    const step = field("Step", number);
    step.hidden = true;
    const add = () => {
      const at = moment.control.value === "at" ? `~${Math.max(0, Math.floor(number.value))}` : "";
      set([...new Set([...keys, `${metric.control.value}~${moment.control.value}${at}`])]);
    };
    const offered = [...this.data.columns, ...this.columns.filter((column) => column.key.includes("~"))];
    const checks = offered.slice(1).map(({ key, title }) =>
      labelledCheck(title, keys.includes(key), (isOn) =>
        set(offered.map((one) => one.key).filter((one) => (one === key ? isOn : keys.includes(one)))),
      ),
    );
    const buttons = [button("Add column", add), button("Usual columns", () => set([]))];
    redrawn(this.chooser, () => fill(this.chooser, checks, metric, moment, step, buttons));
  }

  valueKeys() {
    const filtered = Object.keys(this.data.metrics).filter((name) => this.filterBox.value.includes(name));
    const keys = [...this.columns.map((column) => column.key), ...filtered.map(newestKey), this.wanted];
    return [...new Set(keys)].filter((key) => key?.includes("~"));
  }

  askValues() {
    if (this.valueKeys().length) this.loadValues();
  }

  async readValues() {
    for (const key of this.valueKeys()) {
      const [metric, moment, step = 0] = key.split("~");
      try {
        const asked = new URLSearchParams({ metric, moment, step });
        const { values } = await get(`sweeps/${this.sweepId}/finals?${asked}`, this.signal);
        this.values.set(key, new Map(values));
      } catch (error) {
        if (this.signal.aborted) return;
        if (!this.values.has(key)) tell(`${error.message} ${error.hint ?? ""}`, true);
        this.values.set(key, this.values.get(key) ?? new Map());
      }
      this.narrow();
    }
  }

  /** The filtered runs as they stand, with whole numbers, as a file. */
  download() {
    const rows = this.shown.map((run) => this.columns.map((column) => column.read(run)));
    download(`sweep-${this.sweepId}.csv`, csv([this.columns.map((column) => column.title), ...rows]), "text/csv");
  }

  setFilter(text) {
    this.filterBox.value = text;
    this.filterBox.dispatchEvent(new Event("input"));
  }

  narrow(page) {
    this.update(page);
    this.onFilter(this.found.runs, Boolean(this.filterBox.value.trim()));
  }

  sortBy(key) {
    this.sort = this.sort === key ? `-${key}` : key;
    view.write({ sort: this.sort }, DEFAULTS);
    this.drawHead();
    this.update(1);
  }

  drawHead() {
    const key = this.sort.replace(/^-/, "");
    const direction = this.sort.startsWith("-") ? "descending" : "ascending";
    const change = () => this.select(this.found.runs.map((run) => run.id), this.allBox.checked);
    const label = "Select all runs that pass the filter";
    this.allBox = el("input", { type: "checkbox", "aria-label": label, on: { change } });
    const header = (column) => {
      const arrow = column.key !== key ? "" : direction === "ascending" ? " ▲" : " ▼";
      const title = [column.title, el("span", { "aria-hidden": "true" }, arrow)];
      return el("th",
        { scope: "col", class: column.numeric ? "numeric" : "", "aria-sort": column.key === key ? direction : "none" },
        button(title, () => this.sortBy(column.key), { id: `sort-${column.key}` }),
      );
    };
    const tick = el("th", { scope: "col", class: "tick" }, this.allBox);
    redrawn(this.head, () => fill(this.head, tick, this.columns.map(header)));
  }

  /** Draw the runs again, those of `page` or of the present one. */
  update(page) {
    this.found = this.data.filtered(this.filterBox.value);
    const runs = (this.shown = this.sorted(this.found.runs));
    this.pager.show(runs.length, page);
    const total = this.data.runs.size;
    const some = runs.length < total ? `${runs.length.toLocaleString("en-US")} of ` : "";
    setText(this.told, `${some}${format.counted(total, "run")}`);
    setText(this.problem, this.found.problems.join("; "));
    this.allBox.checked = runs.length > 0 && runs.every((run) => this.selected.has(run.id));
  }

  sorted(runs) {
    const column = this.columns.find((one) => one.key === this.sort.replace(/^-/, "")) ?? this.columns[0];
    const sign = this.sort.startsWith("-") ? -1 : 1;
    return runs.toSorted((a, b) => compared(column.read(a), column.read(b), sign));
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
    const box = row.firstChild.firstChild;
    box.value = run.id;
    box.checked = this.selected.has(run.id);
    box.setAttribute("aria-label", `Select run ${run.id}`);
    row.querySelector("a.run").setAttribute("href", `${BASE}runs/${run.id}`);
    this.columns.forEach((column, at) => {
      const cell = row.children[at + 1];
      setText(cell.firstElementChild ?? cell, format.setting((column.show ?? column.read)(run)));
      if (column.key === "state") cell.className = `state ${run.state}`;
      if (column.key === "error" && cell.title !== cell.textContent) cell.title = cell.textContent;
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
