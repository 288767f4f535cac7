// The runs of a sweep as the server told them, kept up to date, the columns in which people read them, and their filter:
// words that must occur, and conditions such as `depth=4 val_loss<3.5 error~memory dataset=a|b`.

import * as format from "./format.js";

const CONDITION = /^([^<>=!~]+)(<=|>=|!=|=|<|>|~)(.*)$/;

/** Columns that are always there, after the settings that differ. `read` gives a value to sort and filter by. */
function ownColumns(data) {
  const words = (key) => ({ key, title: key, read: (run) => run[key] });
  return [
    numeric("seed", "seed", (run) => run.seed),
    { ...words("state"), show: format.stateText },
    numeric("step", "step", (run) => run.step),
    numeric("done", "done", (run) => run.fraction, format.percent),
    numeric("val_loss", "val loss", (run) => run.val_loss, format.loss),
    numeric("train_loss", "train loss", (run) => run.train_loss, format.loss),
    numeric("tokens_s", "tokens/s", (run) => run.tokens_per_second, (value) => (value ? format.shortCount(value) : "")),
    numeric("params", "parameters", (run) => data.arm(run)?.params, format.shortCount),
    numeric("memory", "memory", (run) => run.memory_bytes, format.bytes),
    numeric("started", "started", (run) => run.started_at, format.moment),
    numeric("took", "took", format.secondsOf, format.duration),
    numeric("priority", "priority", (run) => run.priority),
    words("tags"),
    words("error"),
  ];
}

/** A column of numbers; `show` makes a text of one. */
function numeric(key, title, read, show = format.setting) {
  return { key, title, read, numeric: true, show: (run) => show(read(run)) };
}

/** A sweep's arms and runs. */
export class SweepData {
  constructor({ arms, columns, ...whole }) {
    this.names = columns;
    this.arms = new Map(arms.map((arm) => [arm.id, arm]));
    this.runs = new Map();
    this.words = new Map();
    this.values = new Map(); // of a metric at a moment, by run, by the key of its column
    this.apply(whole);
    this.columns = [
      numeric("run", "run", (run) => run.id),
      ...this.settings.map((name, which) => ({
        key: name,
        title: name,
        read: (run) => this.arm(run)?.values[which],
        numeric: arms.every((arm) => typeof arm.values[which] === "number"),
      })),
      ...ownColumns(this),
    ];
    const metrics = Object.keys(this.metrics).map((name) => [name, this.newest(name)]);
    this.readers = new Map([...metrics, ...this.columns.map((column) => [column.key, column.read])]);
    this.readers.set("reason", (run) => run.reason);
    this.readers.set("paused", (run) => String(run.paused));
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
    return numeric(key, title, (run) => this.values.get(key)?.get(run.id), format.loss);
  }

  /** What reads the newest value of a metric: the rows have the losses, the server is asked for others. */
  newest(metric) {
    const key = newestKey(metric);
    return key ? (run) => this.values.get(key)?.get(run.id) : (run) => run[metric];
  }

  /** Take in what changed. */
  apply({ rows, ...changes }) {
    Object.assign(this, changes);
    for (const row of rows) {
      const run = Object.fromEntries(this.names.map((name, at) => [name, row[at]]));
      this.runs.set(run.id, run);
      this.words.delete(run.id);
    }
  }

  arm(run) {
    return this.arms.get(run.arm);
  }

  /** The text of a run in which a filter's bare words are looked for. */
  text(run) {
    if (!this.words.has(run.id)) {
      const words = [run.id, this.arm(run)?.label, format.stateText(run), run.error, run.tags, "seed", run.seed];
      this.words.set(run.id, words.join(" ").toLowerCase());
    }
    return this.words.get(run.id);
  }

  /** The runs that pass a filter, and what of the filter could not be understood. */
  filtered(text) {
    const { passes, problems } = parseFilter(text, this.readers, (run) => this.text(run));
    const runs = [...this.runs.values()];
    return { runs: text.trim() ? runs.filter(passes) : runs, problems };
  }
}

/** The key of the column of a metric's newest value; null for those that the rows have. */
export function newestKey(metric) {
  return ["val_loss", "train_loss"].includes(metric) ? null : `${metric}~last`;
}

/** Words and conditions; quotes keep blanks together. */
export function filterTerms(text) {
  return [...text.matchAll(/(?:[^\s"]+|"[^"]*")+/g)].map((match) => match[0].replaceAll('"', ""));
}

/**
 * A function that says whether a run passes, and what could not be understood. `columns` maps a name to what reads its
 * value from a run; `words(run)` is the text in which bare words are looked for.
 */
function parseFilter(text, columns, words) {
  const tests = [];
  const problems = [];
  for (const term of filterTerms(text)) {
    const condition = CONDITION.exec(term);
    if (!condition) {
      const wanted = term.toLowerCase();
      tests.push((run) => words(run).includes(wanted));
    } else if (!columns.has(condition[1])) {
      problems.push(`there is no column '${condition[1]}'`);
    } else {
      tests.push(comparison(columns.get(condition[1]), condition[2], condition[3]));
    }
  }
  return { passes: (run) => tests.every((test) => test(run)), problems };
}

function comparison(read, sign, wanted) {
  const asNumber = wanted.trim() === "" ? NaN : Number(wanted);
  const lower = wanted.toLowerCase();
  const same = (value) => value === asNumber || lower.split("|").includes(String(value ?? "").toLowerCase());
  const tests = {
    "=": same,
    "!=": (value) => !same(value),
    "~": (value) => String(value ?? "").toLowerCase().includes(lower),
    "<": (value) => typeof value === "number" && value < asNumber,
    ">": (value) => typeof value === "number" && value > asNumber,
    "<=": (value) => typeof value === "number" && value <= asNumber,
    ">=": (value) => typeof value === "number" && value >= asNumber,
  };
  return (run) => tests[sign](read(run));
}
