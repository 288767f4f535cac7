// The runs of a sweep as the server told them, kept up to date, and the columns in which people read them.

import { parseFilter } from "./filter.js";
import * as format from "./format.js";

/** Columns that are always there, after the settings that differ. `read` gives a value to sort and filter by. */
function ownColumns(data) {
  const of = (name) => (run) => run[data.place[name]];
  return [
    { key: "seed", title: "seed", read: of("seed"), numeric: true },
    { key: "state", title: "state", read: of("state") },
    { key: "step", title: "step", read: of("step"), numeric: true },
    {
      key: "done",
      title: "done",
      read: of("fraction"),
      show: (run) => format.percent(run[data.place.fraction]),
      numeric: true,
    },
    {
      key: "val_loss",
      title: "val loss",
      read: of("val_loss"),
      show: (run) => format.loss(run[data.place.val_loss]),
      numeric: true,
    },
    {
      key: "train_loss",
      title: "train loss",
      read: of("train_loss"),
      show: (run) => format.loss(run[data.place.train_loss]),
      numeric: true,
    },
    {
      key: "tokens_s",
      title: "tokens/s",
      read: of("tokens_per_second"),
      numeric: true,
      show: (run) => (run[data.place.tokens_per_second] ? format.shortCount(run[data.place.tokens_per_second]) : ""),
    },
    {
      key: "params",
      title: "parameters",
      read: (run) => data.arm(run)?.params,
      numeric: true,
      show: (run) => format.shortCount(data.arm(run)?.params),
    },
    {
      key: "memory",
      title: "memory",
      read: of("memory_bytes"),
      numeric: true,
      show: (run) => format.bytes(run[data.place.memory_bytes]),
    },
    {
      key: "started",
      title: "started",
      read: of("started_at"),
      numeric: true,
      show: (run) => format.moment(run[data.place.started_at]),
    },
    {
      key: "took",
      title: "took",
      read: (run) => data.seconds(run),
      numeric: true,
      show: (run) => format.duration(data.seconds(run)),
    },
    { key: "priority", title: "priority", read: of("priority"), numeric: true },
    { key: "error", title: "error", read: of("error") },
  ];
}

/** A sweep's arms and runs. A run is an array in the order of the server's columns; `place` names their places. */
export class SweepData {
  constructor(whole) {
    this.sweep = whole.sweep;
    this.settings = whole.settings;
    this.common = whole.common;
    this.metrics = whole.metrics;
    this.mixedEvaluations = whole.mixed_evaluations;
    this.arms = new Map(whole.arms.map((arm) => [arm.id, arm]));
    this.place = Object.fromEntries(whole.columns.map((name, place) => [name, place]));
    this.runs = new Map();
    this.words = new Map();
    this.columns = [
      { key: "run", title: "run", read: (run) => run[this.place.id], numeric: true },
      ...this.settings.map((name, which) => ({
        key: name,
        title: name,
        read: (run) => this.arm(run)?.values[which],
        show: (run) => format.setting(this.arm(run)?.values[which]),
        numeric: whole.arms.every((arm) => typeof arm.values[which] === "number"),
      })),
      ...ownColumns(this),
    ];
    this.readers = new Map(this.columns.map((column) => [column.key, column.read]));
    this.readers.set("reason", (run) => run[this.place.reason]);
    this.readers.set("paused", (run) => String(run[this.place.paused]));
    this.apply(whole);
  }

  /** Take in what changed; returns the runs that did. */
  apply(changes) {
    this.epoch = changes.epoch;
    this.version = changes.version;
    this.counts = changes.counts;
    this.secondsLeft = changes.seconds_left;
    this.growth = changes.growth;
    for (const run of changes.rows) {
      this.runs.set(run[this.place.id], run);
      this.words.delete(run[this.place.id]);
    }
    return changes.rows;
  }

  arm(run) {
    return this.arms.get(run[this.place.arm]);
  }

  /** Seconds from the first claim to the end, or until now. */
  seconds(run) {
    const started = run[this.place.started_at];
    const ended = run[this.place.ended_at] ?? (run[this.place.state] === "running" ? Date.now() / 1000 : null);
    return started && ended ? ended - started : null;
  }

  /** State with its reason and what holds it back: `failed (oom)`, `pending (paused)`. */
  stateText(run) {
    const { state, reason, paused, waits_until: waits, code_note: code } = this.place;
    const notes = [];
    if (run[reason] && run[state] !== "completed" && run[reason] !== run[state]) notes.push(run[reason]);
    if (run[paused] && (run[state] === "pending" || run[state] === "running")) notes.push("paused");
    if (run[code]) notes.push(run[code]);
    if (run[waits]) notes.push(`waits until ${format.moment(run[waits]).slice(11)}`);
    return notes.length ? `${run[state]} (${notes.join(", ")})` : run[state];
  }

  /** The text of a run in which a filter's bare words are looked for. */
  text(run) {
    const id = run[this.place.id];
    let found = this.words.get(id);
    if (found === undefined) {
      found =
        `${id} ${this.arm(run)?.label} ${this.stateText(run)} ${run[this.place.error]} seed ${run[this.place.seed]}`.toLowerCase();
      this.words.set(id, found);
    }
    return found;
  }

  /** The runs that pass a filter, and what of the filter could not be understood. */
  filtered(text) {
    const { passes, problems } = parseFilter(text, this.readers, (run) => this.text(run));
    const runs = [...this.runs.values()];
    return { runs: text.trim() ? runs.filter(passes) : runs, problems };
  }
}

/** The newest value of a metric by run: from the rows where they have it, else asked of the server. */
export function rowMetric(metric) {
  return { val_loss: "val_loss", train_loss: "train_loss" }[metric] ?? null;
}
