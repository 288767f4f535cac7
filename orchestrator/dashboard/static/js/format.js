// Numbers, times and states as people read them.

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
  let minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  let hours = Math.floor(minutes / 60);
  minutes %= 60;
  if (hours < 24) return `${hours} h ${String(minutes).padStart(2, "0")} min`;
  const days = Math.floor(hours / 24);
  hours %= 24;
  return `${days} d ${hours} h`;
}

/** Seconds since the epoch as local date and time. */
export function moment(seconds) {
  if (!seconds) return "";
  const at = new Date(seconds * 1000);
  const two = (value) => String(value).padStart(2, "0");
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
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

/** ` 2 diverged (where): run 3, run 7.`, of at most ten by number; empty for none. */
export function divergedNote(ids, where) {
  if (!ids.length) return "";
  const named = ids.slice(0, 10).map((id) => `run ${id}`);
  return ` ${ids.length} diverged (${where}): ${named.join(", ")}${ids.length > 10 ? " …" : ""}.`;
}

/** What is said of runs or points (`noun`) that have no place over the wall clock; empty for none. */
export function withoutClock(count, noun) {
  return count ? `${counted(count, noun)} without a wall clock, which earlier versions of hlbq did not record.` : "";
}

/** A percentage. */
export function percent(fraction) {
  return `${Math.floor(fraction * 100 + 1e-9)} %`;
}

export const STATES = ["pending", "running", "completed", "failed", "cancelled"];
