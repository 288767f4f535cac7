// A run: curves of all its metrics, settings, attempts, events, log, error, and the command that repeats it.

import { BASE, get } from "./api.js";
import { onThemeChange } from "./colours.js";
import { controlButtons } from "./controls.js";
import { DeviceCharts } from "./device_charts.js";
import { tell } from "./dialogs.js";
import { el, fill, plainTable, setText, throttled } from "./dom.js";
import { bytes, counted, duration, loss, moment, number, percent, shortCount, withoutClock } from "./format.js";
import { labelButton } from "./labels.js";
import { curvesQuery, MetricCharts } from "./metric_charts.js";
import { eventsTable } from "./overview_page.js";
import { LivePage, redrawn } from "./live_page.js";

const MOST_SISTERS = 20;
const CURVES_EVERY_MS = 2_000;
const TRACEBACK_COMPARED = 300;
const LOG_EVERY_MS = 4_000;

export class RunPage extends LivePage {
  async start() {
    this.loadCurves = throttled(CURVES_EVERY_MS, () => this.readCurves());
    this.loadLog = throttled(LOG_EVERY_MS, () => this.readLog());
    this.unTheme = onThemeChange(() => this.drawCurves());
    await this.follow(`runs/${this.id}`, `run/${this.id}`);
  }

  open(run) {
    this.run = run;
    this.build();
    this.loadCurves();
    this.loadLog();
  }

  news(content) {
    const isOther = content.newest_event !== (this.run.events[0]?.id ?? 0);
    Object.assign(this.run, content);
    this.drawHead();
    this.loadCurves();
    this.loadLog();
    if (isOther) this.reload();
  }

  renew(run) {
    this.run = run;
    this.drawHead();
    this.drawDetails();
    this.loadCurves();
  }

  build() {
    const { run } = this;
    document.title = `Run ${run.id} · hlbq`;
    this.head = el("dl", { class: "facts" });
    this.errorBox = el("section", { "aria-label": "Error" });
    this.note = el("p", { class: "faint note", role: "status" });
    this.details = el("div");
    this.logText = el("pre", { class: "log", tabindex: "0", role: "region", "aria-label": "Log" });
    this.logNote = el("p", { class: "faint" });
    this.traceback = el("pre", { tabindex: "0", role: "region", "aria-label": "Traceback" });
    this.charts = new MetricCharts(this.server.axes, () => this.readCurves());
    const target = () => {
      const { id, run } = this;
      return { sweeps: [], runs: [Number(id)], words: `run ${id}`, priority: run.priority, states: [run.state], paused: run.paused && /ing$/.test(run.state) };
    };
    if (!this.server.read_only) this.controls = controlButtons(target, () => this.reload());
    const ownTags = ({ tags, sweep_tags: others }) => tags.filter((tag) => !others.includes(tag));
    const labels = () => ({ run: Number(this.id), tags: ownTags(this.run), note: this.run.note });
    this.devices = new DeviceCharts(`runs/${this.id}/devices`, {
      isLive: () => this.run.state === "running",
      none: "Nothing was reported: drivers of GPUs do so twice a minute, a CPU has none.",
    });
    fill(this.root,
      el("p", { class: "crumbs" }, el("a", { href: `${BASE}sweeps/${run.sweep}` }, run.sweep_name || `Sweep ${run.sweep}`)),
      el("h1", {}, `Run ${run.id}`),
      aroundRun(run),
      this.head,
      this.controls
        ? el("div", { class: "row act" }, this.controls.root, labelButton(labels, () => this.reload()))
        : el("p", { class: "faint" }, "Read-only: nothing can be changed from here."),
      this.errorBox,
      el("h2", {}, "Curves"),
      this.charts.root,
      this.note,
      el("details", { open: this.run.state === "running" }, el("summary", {}, "Devices while it trained"), this.devices.root),
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
      ["worker", run.worker ? el("a", { href: `${BASE}workers` }, String(run.worker)) : null],
      ["started", moment(run.started_at)],
      ["took", run.started_at && ended ? duration(ended - run.started_at) : null],
      ["uid", run.uid],
    ];
    const kept = facts.filter(([, value]) => value);
    redrawn(this.head, () =>
      fill(this.head, kept.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    );
    this.controls?.update();
  }

  drawDetails() {
    const { run } = this;
    const failed = run.attempts.filter((attempt) => attempt.error || attempt.error_type).at(-1);
    setText(this.traceback, failed?.traceback ?? "");
    fill(this.errorBox,
      failed &&
        el("div", { class: "error-box" },
          el("h2", {}, `Error of attempt ${failed.number}`),
          el("p", { class: "note-text" }, [failed.error_type, failed.error].filter(Boolean).join(": ")),
          failed.traceback && this.traceback,
        ),
    );
    const copy = el("button", { type: "button", on: { click: () => this.copy(run.repeat) } }, "Copy");
    fill(this.details,
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
        ? plainTable("Attempts", ["attempt", "worker", "started", "ended", "because", "steps", "slots"],
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
        ? el("details", {},
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
      this.answer = await get(`runs/${this.id}/curves?${curvesQuery()}`);
      if (this.isOver) return;
      this.drawCurves();
    } catch (error) {
      setText(this.note, `${error.message}. ${error.hint ?? ""}`);
    }
  }

  drawCurves() {
    if (!this.answer) return;
    const { metrics, points, most_shown: most, without_clock: without } = this.answer;
    this.charts.draw([{ name: "", ...this.answer }]);
    const names = Object.keys(metrics);
    const notes = names.length ? [] : ["No points yet."];
    if (points > most)
      notes.push(
        `Thinned: the least and greatest value of each stretch is drawn, up to ${most} of ${counted(points, "point")}.`,
      );
    notes.push(withoutClock(without, "point"));
    const bad = names.flatMap((name) =>
      Object.entries(metrics[name])
        .filter(([, curve]) => curve.not_finite)
        .map(([split, curve]) => `${split} ${name}: ${curve.not_finite}`),
    );
    if (bad.length) notes.push(`Values that are nan or infinite are not drawn (${bad.join(", ")}).`);
    setText(this.note, notes.filter(Boolean).join(" "));
  }

  async readLog() {
    try {
      const { text, left_out: leftOut, problem } = await get(`runs/${this.id}/log`);
      const atEnd = this.logText.scrollHeight - this.logText.scrollTop - this.logText.clientHeight < 40;
      setText(this.logNote,
        problem ||
          (leftOut
            ? `The end of it; ${bytes(leftOut) || `${leftOut} bytes`} before are left out: hlbq logs ${this.id}`
            : text
              ? ""
              : "Nothing was printed."),
      );
      setText(this.logText, text);
      // A trainer prints its traceback: it need not stand there twice.
      const end = this.traceback.textContent.trim().slice(-TRACEBACK_COMPARED);
      this.traceback.hidden = Boolean(end) && text.includes(end);
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
    super.destroy();
    this.devices?.destroy();
    this.loadCurves.stop();
    this.loadLog.stop();
    this.unTheme?.();
    this.charts?.destroy();
  }
}

function settingsList(values) {
  const names = Object.keys(values);
  if (!names.length) return el("p", { class: "faint" }, "None.");
  return el("dl", { class: "settings" },
    names.map((name) => el("div", {}, el("dt", {}, name), el("dd", {}, values[name]))),
  );
}

/** Links to the runs of the same arm, side by side with them, and to those before and after. */
function aroundRun({ id, before, after, sisters }) {
  const link = (to, text) => to && el("a", { href: `${BASE}runs/${to}`, class: "around" }, text);
  const seeds = sisters.filter(([other]) => other !== id).slice(0, MOST_SISTERS);
  const all = [id, ...seeds.map(([other]) => other)].slice(0, 8);
  return el("p", {},
    link(before, `‹ run ${before}`),
    link(after, `run ${after} ›`),
    seeds.length ? " Same settings: " : null,
    seeds.map(([other, seed, state]) => link(other, `run ${other} (seed ${seed}${state === "completed" ? "" : `, ${state}`})`)),
    seeds.length ? el("a", { href: `${BASE}compare?runs=${all.join(",")}` }, "side by side") : null,
  );
}
