// The overview: all sweeps, found and sorted, and what happened last.

import { BASE } from "./api.js";
import { el, fill, plainTable, redrawn, statesBar } from "./dom.js";
import { ago, counted, countsText, duration, loss, moment } from "./format.js";
import { LivePage } from "./live_page.js";
import * as view from "./view_state.js";

const MOST_VALUES = 12;
const MOST_TOGETHER = 20;
const least = (read) => (a, b) => (read(a) ?? Infinity) - (read(b) ?? Infinity) || b.id - a.id;
const ORDERS = {
  newest: ["the newest first", (a, b) => b.id - a.id],
  name: ["by name", (a, b) => a.name.localeCompare(b.name, "en", { numeric: true }) || b.id - a.id],
  best: ["the best value first", least((sweep) => sweep.best?.val_loss)],
  left: ["the first to end first", least((sweep) => sweep.seconds_left)],
  runs: ["the most runs first", (a, b) => b.total - a.total],
};

export class OverviewPage extends LivePage {
  async start() {
    document.title = "Sweeps · hlbq";
    await this.follow("overview");
  }

  /** The box that chooses a sweep. */
  tick(id) {
    const change = ({ target }) => {
      this.chosen[target.checked ? "add" : "delete"](id);
      this.news(this.found);
    };
    const attributes = { "aria-label": `Choose sweep ${id}`, checked: this.chosen.has(id) };
    return el("input", { type: "checkbox", ...attributes, on: { change } });
  }

  /** The link to the chosen sweeps, or else to those that were found, together. */
  together(shown) {
    const isFound = !this.chosen.size && view.read("filter").trim();
    const ids = isFound ? shown.map(({ id }) => id) : [...this.chosen];
    if (ids.length < 2 || ids.length > MOST_TOGETHER) return null;
    const href = `${BASE}sweeps/${ids.sort((a, b) => a - b).join(",")}`;
    return el("p", {}, el("a", { href }, `Show the ${ids.length} ${isFound ? "found" : "chosen"} sweeps together`));
  }

  open(found) {
    this.chosen = new Set();
    const again = () => this.news(this.found);
    const orders = Object.entries(ORDERS).map(([key, [text]]) => [key, text]);
    this.bar = el("div", { class: "row" },
      view.filterBox("Find sweeps", "words in names, tags, notes, settings", again),
      view.select("Order", "sort", orders, again, "newest"),
    );
    this.content = el("div");
    fill(this.root, el("h1", {}, "Sweeps"), this.bar, this.content);
    this.news(found);
  }

  news(found) {
    this.found = found;
    this.chosen = new Set(found.sweeps.map(({ id }) => id).filter((id) => this.chosen.has(id)));
    this.bar.hidden = !found.sweeps.length;
    redrawn(this.content, () => this.draw(found));
  }

  draw({ sweeps, sweeps_left_out: leftOut, workers, events }) {
    if (!sweeps.length) {
      const command = el("code", {}, `hlbq submit${this.server.option} --depth 4 8 --num_runs 3`);
      fill(this.content, el("p", { class: "empty" }, "No sweeps yet. Submit one: ", command));
      return;
    }
    const wanted = view.read("filter").toLowerCase().split(/\s+/);
    const shown = sweeps.filter((sweep) => wanted.every((word) => text(sweep).includes(word)));
    shown.sort((ORDERS[view.read("sort")] ?? ORDERS.newest)[1]);
    fill(this.content,
      el("p", { class: "faint", role: "status" },
        `${counted(sweeps.length + leftOut, "sweep")}, ${counted(workers, "worker")} at work. `,
        leftOut ? `Only the newest ${sweeps.length} are listed. ` : null,
        shown.length < sweeps.length ? `${shown.length} pass the filter.` : null,
      ),
      this.together(shown),
      el("ul", { class: "sweeps" }, shown.map((sweep) => sweepCard(sweep, this.tick(sweep.id)))),
      el("h2", {}, "Last events"),
      eventsTable(events),
    );
  }
}

/** What is searched of a sweep. */
function text({ id, name, tags, note, axes, command }) {
  const settings = Object.entries(axes).map(([setting, values]) => `${setting} ${values.join(" ")}`);
  return ["sweep", id, name, ...tags, note, ...settings, command].join(" ").toLowerCase();
}

function sweepCard(sweep, tick) {
  const axes = Object.entries(sweep.axes).map(([name, values]) => `${name} ${shortened(values)}`);
  const { best, verdict, spent, seconds_left: left } = sweep;
  const facts = [left && `about ${duration(left)} left`, spent, best && `best val loss ${loss(best.val_loss)}`];
  const bestRun = best && el("a", { class: "plain", href: `${BASE}runs/${best.run}` }, `run ${best.run}`);
  const faint = (...words) => el("p", { class: "faint" }, words);
  const told = facts.filter(Boolean).join(" · ");
  return el("li", {},
    el("a", { href: `${BASE}sweeps/${sweep.id}` },
      el("span", { class: "number" }, `${sweep.id}`),
      el("span", { class: "name" }, sweep.name || `Sweep ${sweep.id}`),
    ),
    tick,
    statesBar(sweep.counts),
    el("p", {}, countsText(sweep.counts) || "no runs"),
    told && el("p", {}, told, best && [" (", bestRun, ")"]),
    verdict && el("p", {}, verdict),
    axes.length ? faint(axes.join(" · ")) : null,
    sweep.tags.length ? faint(sweep.tags.join(" · ")) : null,
    sweep.note && el("p", { class: "faint note-text" }, sweep.note),
    el("p", { class: "faint", title: moment(sweep.created_at) }, `submitted ${ago(sweep.created_at)}`),
  );
}

/** The values, or of many the first, the last, and how many there are. */
function shortened(values) {
  if (values.length <= MOST_VALUES) return values.join(" ");
  return `${values.slice(0, 3).join(" ")} … ${values.at(-1)} (${values.length} values)`;
}

/** Events with links to what they are about. */
export function eventsTable(events) {
  const link = (page, number) => el("a", { href: `${BASE}${page}s/${number}` }, `${page} ${number}`);
  const of = ({ run, sweep }) => (run ? link("run", run) : sweep ? link("sweep", sweep) : "");
  const rows = events.map((event) => [moment(event.at), event.actor, event.action, of(event), event.why]);
  return plainTable("Events", ["when", "who", "what", "of", "why"], rows, { class: "events" });
}
