// A run: curves of all its metrics, settings, attempts, events, log, error, and the command that repeats it.

import { BASE, get } from "./api.js";
import { controlRow } from "./controls.js";
import { DeviceCharts } from "./device_charts.js";
import { tell } from "./dialogs.js";
import { button, definitions, el, fill, folded, plainTable, redrawn, setText, throttled } from "./dom.js";
import { bytes, duration, loss, moment, number, percent, secondsOf, shortCount, stateText } from "./format.js";
import { LivePage } from "./live_page.js";
import { MetricCharts } from "./metric_charts.js";
import { eventsTable } from "./overview_page.js";

const MOST_SISTERS = 20;
const CURVES_EVERY_MS = 2_000;
const TRACEBACK_COMPARED = 300;
const LOG_EVERY_MS = 4_000;

export class RunPage extends LivePage {
  async start() {
    this.loadCurves = throttled(CURVES_EVERY_MS, () => this.charts.load(), this.signal);
    this.loadLog = throttled(LOG_EVERY_MS, () => this.readLog(), this.signal);
    await this.follow(`runs/${this.id}`, `run/${this.id}`);
  }

  open(run) {
    this.run = run;
    this.build();
    this.renew(run);
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
    this.head = el("div");
    this.errorBox = el("section", { "aria-label": "Error" });
    this.details = el("div");
    this.logText = el("pre", { class: "log", tabindex: "0", role: "region", "aria-label": "Log" });
    this.logNote = el("p", { class: "faint" });
    this.traceback = el("pre", { tabindex: "0", role: "region", "aria-label": "Traceback" });
    this.charts = new MetricCharts([{ id: run.id, name: "" }], this.server.axes, this.signal);
    const target = () => ({ sweeps: [], runs: [run.id], words: `run ${run.id}`, of: [this.run] });
    const ownTags = ({ tags, sweep_tags: others }) => tags.filter((tag) => !others.includes(tag));
    const labels = () => ({ run: run.id, tags: ownTags(this.run), note: this.run.note });
    const onLabelled = () => this.reload();
    this.controls = controlRow(this.server, { target, labels, onLabelled });
    const devices = new DeviceCharts(`runs/${run.id}/devices`, {
      signal: this.signal,
      isLive: () => this.run.state === "running",
      none: "Nothing was reported. GPU drivers report twice a minute; a CPU reports nothing.",
    });
    fill(this.root,
      el("p", { class: "crumbs" }, el("a", { href: `${BASE}sweeps/${run.sweep}` }, run.sweep_name || `Sweep ${run.sweep}`)),
      el("h1", {}, `Run ${run.id}`),
      aroundRun(run),
      this.head,
      this.controls.root,
      this.errorBox,
      el("h2", {}, "Curves"),
      this.charts.root,
      folded("Devices while it trained", devices.root, run.state === "running"),
      this.details,
      el("h2", {}, "Log"),
      this.logNote,
      this.logText,
    );
  }

  drawHead() {
    const { run } = this;
    const seconds = secondsOf(run);
    const facts = [
      ["state", el("span", { class: `state ${run.state}` }, stateText(run))],
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
      ["took", seconds === null ? null : duration(seconds)],
      ["uid", run.uid],
    ];
    redrawn(this.head, () => fill(this.head, definitions("facts", facts.filter(([, value]) => value))));
    this.controls.update();
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
    const newest = run.attempts.at(-1);
    const hasAny = (values) => Object.keys(values).length > 0;
    const copy = button("Copy", () => this.copy(run.repeat));
    fill(this.details,
      el("h2", {}, "The same run again"),
      el("div", { class: "command" }, el("pre", { class: "wrap", tabindex: "0" }, run.repeat), copy),
      el("h2", {}, "Settings"),
      el("h3", {}, "Changed from the recipe's defaults"),
      settingsList(run.changed),
      folded("All other settings", settingsList(run.settings)),
      hasAny(run.facts) && folded("Known since its first claim", settingsList(run.facts)),
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
      hasAny(newest?.provenance ?? {}) && folded("What computed the newest attempt", settingsList(newest.provenance)),
      el("h2", {}, "Events"),
      run.events.length ? eventsTable(run.events) : el("p", { class: "empty" }, "None yet."),
    );
  }

  async readLog() {
    try {
      const { text, left_out: leftOut, problem } = await get(`runs/${this.id}/log`, this.signal);
      const atEnd = this.logText.scrollHeight - this.logText.scrollTop - this.logText.clientHeight < 40;
      const all = `hlbq logs${this.server.option} ${this.id}`;
      const cut = leftOut && `The end of the log; the first ${bytes(leftOut)} are left out: ${all}`;
      setText(this.logNote, problem || cut || (text ? "" : "Nothing was printed."));
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
      tell("The browser did not allow copying: select the text instead.", true);
    }
  }
}

function settingsList(values) {
  const pairs = Object.entries(values);
  return pairs.length ? definitions("settings", pairs) : el("p", { class: "faint" }, "None.");
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
