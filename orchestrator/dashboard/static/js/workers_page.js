// Workers: those that live, and those of the past; their devices over time.

import { BASE } from "./api.js";
import { DeviceCharts } from "./device_charts.js";
import { el, fill, plainTable, redrawn, repeated } from "./dom.js";
import { ago, counted, moment } from "./format.js";
import { LivePage } from "./live_page.js";

const NONE = "No device of a live worker has reported anything yet. GPU drivers report; a CPU does not.";

export class WorkersPage extends LivePage {
  async start() {
    document.title = "Workers · hlbq";
    await this.follow("workers");
  }

  open(found) {
    this.content = el("div");
    const devices = new DeviceCharts("devices", { signal: this.signal, none: NONE });
    fill(this.root, el("h1", {}, "Workers"), this.content, el("h2", {}, "Devices over time"), devices.root);
    repeated(5_000, () => this.news(this.found), this.signal); // how long ago the beats were
    this.news(found);
  }

  news(found) {
    this.found = found;
    redrawn(this.content, () => this.draw(found));
  }

  draw({ live, past, past_left_out: leftOut }) {
    const headers = ["worker", "host", "device", "slot", "run", "last beat", "started", "job"];
    fill(this.content,
      live.length
        ? plainTable("Live workers", headers, live.map(liveRow))
        : el("p", { class: "empty" }, "No worker is running. Start one: ", el("code", {}, `hlbq worker${this.server.option}`)),
      past.length ? el("h2", {}, "Ended") : null,
      past.length
        ? plainTable("Ended workers", ["worker", "host", "device", "started", "ended", "why"], past.map(pastRow))
        : null,
      leftOut ? el("p", { class: "faint" }, `${counted(leftOut, "older worker")} not shown.`) : null,
    );
  }
}

function device({ device, device_name: name }) {
  return name && name !== device ? `${device} (${name})` : device;
}

function liveRow(worker) {
  const beat = `${ago(worker.beat_at)}${worker.silent ? ": silent for longer than its lease" : ""}`;
  return [
    String(worker.id),
    `${worker.hostname}, pid ${worker.pid}`,
    device(worker),
    `${worker.slot + 1} of ${worker.slots}`,
    worker.run ? el("a", { href: `${BASE}runs/${worker.run}` }, `run ${worker.run}`) : "none",
    el("span", { class: worker.silent ? "state failed" : "" }, beat),
    moment(worker.started_at),
    worker.job,
  ];
}

function pastRow(worker) {
  const [started, ended] = [worker.started_at, worker.ended_at].map(moment);
  return [String(worker.id), worker.hostname, device(worker), started, ended, worker.why];
}
