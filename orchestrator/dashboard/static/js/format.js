// Numbers, times and states as people read them, and round numbers for the ticks of axes.

/** A number to so many significant digits; the server's words for what is not finite stay. */
export function number(value, digits = 5) {
  if (value === null || value === undefined || value === "") return "";
  if (typeof value === "string") return value;
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return value.toLocaleString("en-US");
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return value.toExponential(Math.max(digits - 2, 1));
  return String(Number(value.toPrecision(digits)));
}

/** A loss to four digits after the point. */
export function loss(value) {
  return typeof value === "number" ? value.toFixed(4) : (value ?? "");
}

/** `812`, `30.8K`, `46.0M`. */
export function shortCount(value) {
  if (value === null || value === undefined) return "";
  for (const [size, letter] of [[1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "K"]]) {
    if (Math.abs(value) >= size) return `${(value / size).toFixed(1)}${letter}`;
  }
  return String(Number(value.toPrecision(3)));
}

/** Bytes as KiB, MiB or GiB. */
export function bytes(value) {
  if (!value) return "";
  if (value < 2 ** 20) return `${Math.ceil(value / 2 ** 10)} KiB`;
  return value >= 2 ** 30 ? `${(value / 2 ** 30).toFixed(1)} GiB` : `${Math.round(value / 2 ** 20)} MiB`;
}

/** `45 s`, `12 min`, `3 h 20 min`, `2 d 5 h`. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** Seconds since the epoch as local date and time. */
export function moment(seconds) {
  if (!seconds) return "";
  return new Date(seconds * 1000).toLocaleString("sv-SE"); // as Swedes write it: 2026-11-29 10:48:11
}

/** How long ago. */
export function ago(seconds) {
  return seconds ? `${duration(Math.max(0, Date.now() / 1000 - seconds))} ago` : "";
}

/** `1 run`, `1,000 runs`. */
export function counted(count, noun) {
  return `${count.toLocaleString("en-US")} ${noun}${count === 1 ? "" : "s"}`;
}

/** A setting's value as it is typed. */
export function setting(value) {
  return String(value ?? "");
}

/** The different values, in order: numbers by size, others as words. */
export function inOrder(values) {
  const distinct = [...new Set(values)];
  const areNumbers = distinct.every((value) => typeof value === "number");
  const words = new Intl.Collator("en", { numeric: true });
  return distinct.sort((a, b) => (areNumbers ? a - b : words.compare(setting(a), setting(b))));
}

/** Seconds from a run's first claim to its end, or until now. */
export function secondsOf({ state, started_at: started, ended_at: ended }) {
  const end = ended ?? (state === "running" ? Date.now() / 1000 : null);
  return started && end ? end - started : null;
}

/** A run's state with its reason and what holds it back: `failed (oom)`, `pending (paused)`. */
export function stateText(run) {
  const notes = [
    run.state !== "completed" && run.reason !== run.state && run.reason,
    run.paused && isOpen(run) && "paused",
    run.code_note,
    run.waits_until && `waits until ${moment(run.waits_until).slice(11)}`,
  ].filter(Boolean);
  return notes.length ? `${run.state} (${notes.join(", ")})` : run.state;
}

/** Whether a run is still to end. */
export function isOpen({ state }) {
  return state === "pending" || state === "running";
}

/** `3 running, 1,000 completed`, of counts by state. */
export function countsText(counts) {
  return STATES.filter((state) => counts[state])
    .map((state) => `${counts[state].toLocaleString("en-US")} ${state}`)
    .join(", ");
}

/** ` 2 diverged (where): run 3, run 7.`, of at most ten by number; empty for none. */
export function divergedNote(ids, where) {
  if (!ids.length) return "";
  const named = ids.slice(0, 10).map((id) => `run ${id}`);
  return ` ${ids.length} diverged (${where}): ${named.join(", ")}${ids.length > 10 ? " …" : ""}.`;
}

/** ` 2 runs left out: ...`, in the words of `hlbq plot --final`, of so many; empty for none. */
export function leftOut(count) {
  return count ? ` ${counted(count, "run")} left out: failed, cancelled or stopped early.` : "";
}

/** What is said of runs or points (`noun`) that have no place over the wall clock; empty for none. */
export function withoutClock(count, noun) {
  return count ? `${counted(count, noun)} without a wall clock, which earlier versions of hlbq did not record.` : "";
}

/** A percentage. */
export function percent(fraction) {
  return `${Math.floor(fraction * 100 + 1e-9)} %`;
}

/** At most about `most` round numbers from `low` to `high`: steps of 1, 2 or 5 times a power of ten. */
export function niceTicks(low, high, most = 6) {
  if (!(high > low)) return [low];
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high * (1 + 1e-12) + step * 1e-9; at += 1) {
    found.push(Number((at * step).toPrecision(12)));
  }
  return found;
}

/** Ticks of a logarithmic axis: 1, 2 and 5 of each power of ten; over less than a decade, evenly spaced ones. */
export function logTicks(low, high) {
  if (high / low < 10) return niceTicks(low, high).filter((tick) => tick > 0);
  const first = Math.floor(Math.log10(low));
  const last = Math.ceil(Math.log10(high));
  const times = last - first > 5 ? [1] : [1, 2, 5];
  const found = [];
  for (let power = first; power <= last; power += 1) {
    for (const one of times) found.push(Number(`${one}e${power}`));
  }
  return found.filter((tick) => tick >= low && tick <= high);
}

export const STATES = ["pending", "running", "completed", "failed", "cancelled"];
