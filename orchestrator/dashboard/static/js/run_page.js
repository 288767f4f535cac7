// A run: curves of all its metrics, settings, attempts, events, log, error, and the command that repeats it.

import { get } from "./api.js";
import { Chart, smoothed } from "./chart.js";
import { lineStyle, onThemeChange } from "./colours.js";
import { controlButtons } from "./controls.js";
import { tell } from "./dialogs.js";
import { el, fill, labelledCheck, labelledSelect, plainTable, setText, throttled } from "./dom.js";
import { bytes, counted, duration, loss, moment, number, percent, shortCount } from "./format.js";
import { eventsTable } from "./overview_page.js";
import { listen } from "./stream.js";
import * as view from "./view_state.js";

const AXES = [
  ["steps", "steps"],
  ["tokens", "tokens"],
  ["epochs", "epochs"],
  ["seconds", "training seconds"],
  ["flops", "training FLOPs"],
];
const CURVES_EVERY_MS = 2_000;
const LOG_EVERY_MS = 4_000;
const FIRST = ["loss", "acc", "pplx", "bits_per_byte", "grad_norm", "lr"];

export class RunPage {
  constructor(root, { id, server, connection }) {
    this.root = root;
    this.id = id;
    this.server = server;
    this.connection = connection;
    this.charts = new Map();
    this.loadCurves = throttled(CURVES_EVERY_MS, () => this.readCurves());
    this.loadLog = throttled(LOG_EVERY_MS, () => this.readLog());
  }

  async start() {
    this.unTheme = onThemeChange(() => this.drawCurves());
    this.run = await get(`runs/${this.id}`);
    if (this.isOver) return;
    this.build();
    this.stream = listen(
      `run/${this.id}`,
      () => ({}),
      (name, content) => this.hear(name, content),
      (state) => this.connection.state(state),
    );
    this.loadCurves();
    this.loadLog();
  }

  async hear(name, content) {
    if (name === "trouble") this.connection.trouble(content);
    else if (name === "reload") await this.reload();
    else if (name === "run") {
      this.connection.fine();
      const isOther = content.newest_event !== (this.run.events[0]?.id ?? 0);
      Object.assign(this.run, content);
      this.drawHead();
      this.loadCurves();
      this.loadLog();
      if (isOther) await this.reload();
    }
  }

  async reload() {
    try {
      this.run = await get(`runs/${this.id}`);
      if (this.isOver) return;
      this.connection.fine();
      this.drawHead();
      this.drawDetails();
      this.loadCurves();
    } catch (error) {
      this.connection.trouble({ error: error.message, hint: error.hint });
    }
  }

  build() {
    const { run } = this;
    document.title = `Run ${run.id} · hlbq`;
    this.head = el("dl", { class: "facts" });
    this.errorBox = el("section", { "aria-label": "Error" });
    this.grid = el("div", { class: "figures" });
    this.note = el("p", { class: "faint note", role: "status" });
    this.details = el("div");
    this.logText = el("pre", { class: "log", tabindex: "0", role: "region", "aria-label": "Log" });
    this.logNote = el("p", { class: "faint" });
    const redraw = () => this.drawCurves();
    const weight = view.readWeight("smooth");
    fill(
      this.root,
      el("p", { class: "crumbs" }, el("a", { href: `/sweeps/${run.sweep}` }, run.sweep_name || `Sweep ${run.sweep}`)),
      el("h1", {}, `Run ${run.id}`),
      this.head,
      this.server.read_only
        ? el("p", { class: "faint" }, "Read-only: nothing can be changed from here.")
        : controlButtons(
            () => ({ sweeps: [], runs: [this.id], words: `run ${this.id}`, priority: this.run.priority }),
            () => this.reload(),
          ),
      this.errorBox,
      el("h2", {}, "Curves"),
      el(
        "div",
        { class: "row chart-controls" },
        labelledSelect("Over", AXES, view.read("x", "steps"), (value) => {
          view.write({ x: value }, { x: "steps" });
          this.readCurves();
        }).root,
        labelledSelect(
          "Smoothing",
          [...new Set([0, 0.6, 0.9, 0.98, weight])].map((one) => [String(one), one ? percent(one) : "none"]),
          String(weight),
          (value) => {
            view.write({ smooth: value }, { smooth: "0" });
            redraw();
          },
        ).root,
        ["logx", "logy"].map(
          (name) =>
            labelledCheck(name === "logx" ? "log x" : "log y", view.isOn(name), (isOn) => {
              view.write({ [name]: isOn });
              redraw();
            }).root,
        ),
      ),
      this.grid,
      this.note,
      this.details,
      el("h2", {}, "Log"),
      this.logNote,
      this.logText,
    );
    this.drawHead();
    this.drawDetails();
  }

  drawHead() {
    const { run } = this;
    const waits = run.waits_until ? `, waits until ${moment(run.waits_until)}` : "";
    const reason = run.reason && run.state !== "completed" && run.reason !== run.state ? ` (${run.reason})` : "";
    const ended = run.ended_at ?? (run.state === "running" ? Date.now() / 1000 : null);
    const facts = [
      [
        "state",
        el("span", { class: `state ${run.state}` }, `${run.state}${reason}${run.paused ? ", paused" : ""}${run.code_note ? `, ${run.code_note}` : ""}${waits}`),
      ],
      ["done", run.state === "running" ? `${percent(run.fraction)}${run.phase ? `, ${run.phase}` : ""}` : null],
      ["step", number(run.step)],
      ["train loss", loss(run.train_loss)],
      ["val loss", loss(run.val_loss)],
      ["test loss", run.test_loss === null ? null : loss(run.test_loss)],
      ["epoch", run.epoch === null ? null : number(run.epoch, 3)],
      ["tokens", shortCount(run.tokens_seen)],
      ["tokens/s", run.state === "running" ? shortCount(run.tokens_per_second) : null],
      ["mfu", run.state === "running" && run.mfu ? percent(run.mfu) : null],
      ["memory", bytes(run.memory_bytes)],
      ["parameters", shortCount(run.params)],
      ["seed", String(run.seed)],
      ["arm", String(run.arm)],
      ["tags", run.tags.join(" ") || null],
      ["note", run.note || null],
      ["priority", String(run.priority)],
      ["worker", run.worker ? el("a", { href: "/workers" }, String(run.worker)) : null],
      ["started", moment(run.started_at)],
      ["took", run.started_at && ended ? duration(ended - run.started_at) : null],
      ["uid", run.uid],
    ];
    // A link that has the focus keeps it: the workers' link is the only one here.
    const hadFocus = this.head.contains(document.activeElement);
    fill(
      this.head,
      facts.filter(([, value]) => value).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
    );
    if (hadFocus) this.head.querySelector("a")?.focus();
  }

  drawDetails() {
    const { run } = this;
    const failed = run.attempts.filter((attempt) => attempt.error || attempt.error_type).at(-1);
    fill(
      this.errorBox,
      failed &&
        el(
          "div",
          { class: "error-box" },
          el("h2", {}, `Error of attempt ${failed.number}`),
          el("p", {}, [failed.error_type, failed.error].filter(Boolean).join(": ")),
          failed.traceback && el("pre", { tabindex: "0", role: "region", "aria-label": "Traceback" }, failed.traceback),
        ),
    );
    const copy = el("button", { type: "button", on: { click: () => this.copy(run.repeat) } }, "Copy");
    fill(
      this.details,
      el("h2", {}, "The same run again"),
      el("div", { class: "command" }, el("pre", { class: "wrap", tabindex: "0" }, run.repeat), copy),
      el("h2", {}, "Settings"),
      el("h3", {}, "Changed from the recipe's defaults"),
      settingsList(run.changed),
      el("details", {}, el("summary", {}, "All other settings"), settingsList(run.settings)),
      Object.keys(run.facts).length
        ? el("details", {}, el("summary", {}, "Known since its first claim"), settingsList(run.facts))
        : null,
      el("h2", {}, "Attempts"),
      run.attempts.length
        ? plainTable(
            "Attempts",
            ["attempt", "worker", "started", "ended", "because", "steps", "slots"],
            run.attempts.map((one) => [
              String(one.number),
              String(one.worker),
              moment(one.started_at),
              moment(one.ended_at),
              one.reason ?? "",
              // The table is not drawn at every step: the facts above tell where a running attempt is.
              one.ended_at ? `${one.start_step} to ${one.step}` : `from ${one.start_step}`,
              String(one.shared_slots),
            ]),
          )
        : el("p", { class: "empty" }, "It has not been started yet."),
      run.attempts.length && Object.keys(run.attempts.at(-1).provenance).length
        ? el(
            "details",
            {},
            el("summary", {}, "What computed the newest attempt"),
            settingsList(run.attempts.at(-1).provenance),
          )
        : null,
      el("h2", {}, "Events"),
      run.events.length ? eventsTable(run.events) : el("p", { class: "empty" }, "None yet."),
    );
  }

  async readCurves() {
    try {
      this.answer = await get(`runs/${this.id}/curves?${new URLSearchParams({ x: view.read("x", "steps") })}`);
      if (this.isOver) return;
      this.drawCurves();
    } catch (error) {
      setText(this.note, `${error.message}. ${error.hint ?? ""}`);
    }
  }

  drawCurves() {
    if (!this.answer) return;
    const { metrics, points, most_shown: most } = this.answer;
    const names = Object.keys(metrics).sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
    for (const name of names) this.chart(name).draw(this.content(name, metrics[name]));
    const notes = names.length ? [] : ["No points yet."];
    if (points > most)
      notes.push(
        `Thinned: the least and greatest value of each stretch is drawn, up to ${most} of ${counted(points, "point")}.`,
      );
    const bad = names.flatMap((name) =>
      Object.entries(metrics[name])
        .filter(([, curve]) => curve.not_finite)
        .map(([split, curve]) => `${split} ${name}: ${curve.not_finite}`),
    );
    if (bad.length) notes.push(`Values that are nan or infinite are not drawn (${bad.join(", ")}).`);
    setText(this.note, notes.join(" "));
  }

  chart(name) {
    if (!this.charts.has(name)) {
      const box = el("div");
      const before = [...this.charts.keys()].find((other) => rank(other) > rank(name));
      const figure = el("figure", { "data-metric": name }, el("figcaption", {}, name), box);
      this.grid.insertBefore(figure, before ? this.grid.querySelector(`[data-metric="${CSS.escape(before)}"]`) : null);
      this.charts.set(name, new Chart(box, { height: 220 }));
    }
    return this.charts.get(name);
  }

  content(name, splits) {
    const weight = view.readWeight("smooth");
    const lines = ["train", "val", "test"]
      .filter((split) => splits[split])
      .map((split) => ({
        key: split,
        label: split,
        x: splits[split].x,
        y: smoothed(splits[split].y, weight),
        width: split === "train" ? 1.5 : 2.5,
        colour: lineStyle(["train", "val", "test"].indexOf(split)).colour,
        dash: [],
      }));
    const xLabel = AXES.find(([key]) => key === view.read("x", "steps"))?.[1] ?? "steps";
    return { title: name, xLabel, logX: view.isOn("logx"), logY: view.isOn("logy"), lines };
  }

  async readLog() {
    try {
      const { text, left_out: leftOut, problem } = await get(`runs/${this.id}/log`);
      const atEnd = this.logText.scrollHeight - this.logText.scrollTop - this.logText.clientHeight < 40;
      setText(
        this.logNote,
        problem ||
          (leftOut
            ? `The end of it; ${bytes(leftOut) || `${leftOut} bytes`} before are left out: hlbq logs ${this.id}`
            : text
              ? ""
              : "Nothing was printed."),
      );
      setText(this.logText, text);
      this.logText.hidden = !text;
      if (atEnd) this.logText.scrollTop = this.logText.scrollHeight;
    } catch (error) {
      setText(this.logNote, error.message);
    }
  }

  async copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      tell("Copied.");
    } catch {
      tell("The browser did not let it be copied: select the text.", true);
    }
  }

  destroy() {
    this.isOver = true;
    this.stream?.close();
    this.loadCurves.stop();
    this.loadLog.stop();
    this.unTheme?.();
    for (const chart of this.charts.values()) chart.destroy();
  }
}

function rank(name) {
  const place = FIRST.indexOf(name);
  return place < 0 ? FIRST.length : place;
}

function settingsList(values) {
  const names = Object.keys(values);
  if (!names.length) return el("p", { class: "faint" }, "None.");
  return el(
    "dl",
    { class: "settings" },
    names.map((name) => el("div", {}, el("dt", {}, name), el("dd", {}, values[name]))),
  );
}
