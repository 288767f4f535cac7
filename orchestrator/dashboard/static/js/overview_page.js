// The overview: all sweeps, newest first, and what happened last.

import { get } from "./api.js";
import { el, fill, plainTable } from "./dom.js";
import { ago, counted, moment, STATES } from "./format.js";
import { listen } from "./stream.js";
import { drawStates } from "./sweep_page.js";

export class OverviewPage {
  constructor(root, { connection }) {
    this.root = root;
    this.connection = connection;
  }

  async start() {
    document.title = "Sweeps · hlbq";
    this.content = el("div");
    fill(this.root, el("h1", {}, "Sweeps"), this.content);
    const found = await get("overview");
    if (this.isOver) return;
    this.draw(found);
    this.stream = listen(
      "overview",
      () => ({}),
      (name, content) => this.hear(name, content),
      (state) => this.connection.state(state),
    );
  }

  hear(name, content) {
    if (name === "trouble") this.connection.trouble(content);
    else if (name === "reload") this.reload();
    else if (name === "overview") this.draw(content);
  }

  async reload() {
    try {
      this.draw(await get("overview"));
    } catch (error) {
      this.connection.trouble({ error: error.message, hint: error.hint });
    }
  }

  draw({ sweeps, sweeps_left_out: leftOut, workers, events }) {
    this.connection.fine();
    if (!sweeps.length) {
      fill(
        this.content,
        el(
          "p",
          { class: "empty" },
          "No sweeps yet. Submit one: ",
          el("code", {}, "hlbq submit --depth 4 8 --num_runs 3"),
        ),
      );
      return;
    }
    // What has the focus is drawn anew too: find it again by its address.
    const focused = document.activeElement?.closest?.(".sweeps a")?.getAttribute("href");
    fill(
      this.content,
      el(
        "p",
        { class: "faint" },
        `${counted(sweeps.length + leftOut, "sweep")}, ${counted(workers, "worker")} at work. `,
        leftOut ? `The newest ${sweeps.length} are shown.` : null,
      ),
      el("ul", { class: "sweeps" }, sweeps.map(sweepCard)),
      el("h2", {}, "Last events"),
      eventsTable(events),
    );
    if (focused) this.content.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  }

  destroy() {
    this.isOver = true;
    this.stream?.close();
  }
}

function sweepCard(sweep) {
  const bar = el("div", { class: "statebar", "aria-hidden": "true" });
  drawStates(bar, sweep.counts, sweep.total);
  const parts = STATES.filter((state) => sweep.counts[state]).map(
    (state) => `${sweep.counts[state].toLocaleString("en-US")} ${state}`,
  );
  const axes = Object.entries(sweep.axes).map(([name, values]) => `${name} ${values.join(" ")}`);
  return el(
    "li",
    {},
    el(
      "a",
      { href: `/sweeps/${sweep.id}` },
      el("span", { class: "number" }, `${sweep.id}`),
      el("span", { class: "name" }, sweep.name || `Sweep ${sweep.id}`),
    ),
    bar,
    el("p", {}, parts.join(", ") || "no runs"),
    axes.length ? el("p", { class: "faint" }, axes.join(" · ")) : null,
    sweep.tags.length ? el("p", { class: "faint" }, sweep.tags.join(" · ")) : null,
    sweep.note && el("p", { class: "faint" }, sweep.note),
    el("p", { class: "faint", title: moment(sweep.created_at) }, `submitted ${ago(sweep.created_at)}`),
  );
}

/** Events with links to what they are about. */
export function eventsTable(events) {
  const rows = events.map((event) => [
    moment(event.at),
    event.actor,
    event.action,
    [
      event.run
        ? el("a", { href: `/runs/${event.run}` }, `run ${event.run}`)
        : event.sweep
          ? el("a", { href: `/sweeps/${event.sweep}` }, `sweep ${event.sweep}`)
          : "",
    ],
    event.why,
  ]);
  return plainTable("Events", ["when", "who", "what", "of", "why"], rows, { class: "events" });
}
