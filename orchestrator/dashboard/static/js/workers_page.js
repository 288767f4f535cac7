// Workers: those that live, and those of the past.

import { BASE, get } from "./api.js";
import { el, fill, plainTable } from "./dom.js";
import { ago, counted, moment } from "./format.js";
import { listen } from "./stream.js";

export class WorkersPage {
  constructor(root, { connection }) {
    this.root = root;
    this.connection = connection;
  }

  async start() {
    document.title = "Workers · hlbq";
    this.content = el("div");
    fill(this.root, el("h1", {}, "Workers"), this.content);
    const found = await get("workers");
    if (this.isOver) return;
    this.draw(found);
    this.timer = setInterval(() => this.draw(this.found), 5_000);
    this.stream = listen(
      "workers",
      () => ({}),
      (name, content) => this.hear(name, content),
      (state) => this.connection.state(state),
    );
  }

  hear(name, content) {
    if (name === "trouble") this.connection.trouble(content);
    else if (name === "reload") this.reload();
    else if (name === "workers") {
      this.connection.fine();
      this.draw(content);
    }
  }

  async reload() {
    try {
      this.draw(await get("workers"));
      this.connection.fine();
    } catch (error) {
      this.connection.trouble({ error: error.message, hint: error.hint });
    }
  }

  draw(found) {
    this.found = found;
    const { live, past, past_left_out: leftOut } = found;
    const focused = this.content.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    fill(
      this.content,
      live.length
        ? plainTable(
            "Live workers",
            ["worker", "host", "device", "slot", "run", "last beat", "started", "job"],
            live.map(liveRow),
          )
        : el("p", { class: "empty" }, "No worker is running. Start one: ", el("code", {}, "hlbq worker --gpu 0")),
      past.length ? el("h2", {}, "Ended") : null,
      past.length
        ? plainTable("Ended workers", ["worker", "host", "device", "started", "ended", "why"], past.map(pastRow))
        : null,
      leftOut ? el("p", { class: "faint" }, `${counted(leftOut, "older worker")} not shown.`) : null,
    );
    if (focused) this.content.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  }

  destroy() {
    this.isOver = true;
    clearInterval(this.timer);
    this.stream?.close();
  }
}

function device(worker) {
  return worker.device_name && worker.device_name !== worker.device
    ? `${worker.device} (${worker.device_name})`
    : worker.device;
}

function liveRow(worker) {
  return [
    String(worker.id),
    `${worker.hostname}, pid ${worker.pid}`,
    device(worker),
    `${worker.slot + 1} of ${worker.slots}`,
    worker.run ? el("a", { href: `${BASE}runs/${worker.run}` }, `run ${worker.run}`) : "none",
    el(
      "span",
      { class: worker.silent ? "state failed" : "" },
      `${ago(worker.beat_at)}${worker.silent ? ": silent for longer than its lease" : ""}`,
    ),
    moment(worker.started_at),
    worker.job,
  ];
}

function pastRow(worker) {
  return [
    String(worker.id),
    worker.hostname,
    device(worker),
    moment(worker.started_at),
    moment(worker.ended_at),
    worker.why,
  ];
}
