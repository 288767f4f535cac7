// The runs of a sweep as the server told them, kept up to date, and the columns in which people read them.

import { parseFilter } from "./filter.js";
import * as format from "./format.js";

/** Columns that are always there, after the settings that differ. `read` gives a value to sort and filter by. */
function ownColumns(data) {
  const of = (name) => (run) => run[data.place[name]];
  const words = (key) => ({ key, title: key, read: of(key) });
  return [
    numeric("seed", "seed", of("seed")),
    words("state"),
    numeric("step", "step", of("step")),
    numeric("done", "done", of("fraction"), format.percent),
    numeric("val_loss", "val loss", of("val_loss"), format.loss),
    numeric("train_loss", "train loss", of("train_loss"), format.loss),
    numeric("tokens_s", "tokens/s", of("tokens_per_second"), (value) => (value ? format.shortCount(value) : "")),
    numeric("params", "parameters", (run) => data.arm(run)?.params, format.shortCount),
    numeric("memory", "memory", of("memory_bytes"), format.bytes),
    numeric("started", "started", of("started_at"), format.moment),
    numeric("took", "took", (run) => data.seconds(run), format.duration),
    numeric("priority", "priority", of("priority")),
    words("tags"),
    words("error"),
  ];
}

/** A column of numbers; `show` makes a text of one. */
function numeric(key, title, read, show = null) {
  return { key, title, read, numeric: true, ...(show && { show: (run) => show(read(run)) }) };
}

/** A sweep's arms and runs. A run is an array in the order of the server's columns; `place` names their places. */
export class SweepData {
  constructor(whole) {
    this.sweeps = whole.sweeps;
    this.cautions = whole.cautions;
    this.settings = whole.settings;
    this.common = whole.common;
    this.metrics = whole.metrics;
    this.mixedEvaluations = whole.mixed_evaluations;
    this.arms = new Map(whole.arms.map((arm) => [arm.id, arm]));
    this.place = Object.fromEntries(whole.columns.map((name, place) => [name, place]));
    this.runs = new Map();
    this.words = new Map();
    this.values = new Map();
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

  /** The columns with these keys; without any, those that are always there. The run's number stands first. */
  chosen(keys) {
    const known = new Map(this.columns.map((column) => [column.key, column]));
    const named = keys.filter((key) => key !== "run").map((key) => known.get(key) ?? this.metricColumn(key));
    return keys.length ? [this.columns[0], ...named.filter(Boolean)] : this.columns;
  }

  /** `val_acc~best`, `train_loss~at~1000`: a metric's value at a moment, which the server is asked for. */
  metricColumn(key) {
    const [metric, moment, step] = key.split("~");
    if (!moment) return null;
    const title = moment === "at" ? `${metric} at step ${step}` : `${moment} ${metric}`;
    return numeric(key, title, (run) => this.values.get(key)?.get(run[this.place.id]), format.loss);
  }

  /** Take in what changed; returns the runs that did. */
  apply(changes) {
    this.epoch = changes.epoch;
    this.version = changes.version;
    this.counts = changes.counts;
    this.secondsLeft = changes.seconds_left;
    this.spent = changes.spent;
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
        `${id} ${this.arm(run)?.label} ${this.stateText(run)} ${run[this.place.error]} ${run[this.place.tags]} seed ${run[this.place.seed]}`.toLowerCase();
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
