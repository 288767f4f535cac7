// What a page shows stands in its address: a link that is copied, or a page that is loaded anew, shows the same.

import { el, field, labelledCheck, labelledSelect } from "./dom.js";
import { percent } from "./format.js";

/** The value of `name` in the address, or `otherwise`. */
export function read(name, otherwise = "") {
  return new URLSearchParams(location.search).get(name) ?? otherwise;
}

/** A weight from 0 to less than 1 of the address; 0 for whatever is none. */
export function readWeight(name) {
  const weight = Number(read(name, "0"));
  return weight > 0 && weight < 1 ? weight : 0;
}

/** Two rising numbers, as a stretch of x; null for whatever is none. */
export function readRange(name) {
  const [low, high] = read(name).split(",").map(Number);
  return low < high ? [low, high] : null;
}

/** Keep a stretch of x, to five digits of its width. */
export function writeRange(name, range) {
  const digits = range && Math.max(0, 5 - Math.ceil(Math.log10(range[1] - range[0])));
  write({ [name]: range ? range.map((edge) => Number(edge.toFixed(Math.min(digits, 20)))).join(",") : "" });
}

/** Whether a switch is on. */
export function isOn(name) {
  return read(name) === "1";
}

/** Put values into the address; what is empty or at its `defaults` is left out. */
export function write(values, defaults = {}) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(values)) {
    const text = String(value ?? "");
    if (text === "" || text === String(defaults[name] ?? "")) query.delete(name);
    else query.set(name, text);
  }
  const search = query.toString();
  history.replaceState(history.state, "", location.pathname + (search ? `?${search}` : ""));
}

/** A select whose choice the address keeps, unless it is `otherwise`; `onChange()` hears of another. */
export function select(label, name, options, onChange, otherwise = "") {
  return labelledSelect(label, options, read(name, otherwise), (value) => {
    write({ [name]: value }, { [name]: otherwise });
    onChange();
  });
}

/** The box of a filter that the address keeps; `onInput()` hears that something was typed. */
export function filterBox(label, placeholder, onInput) {
  const input = () => {
    write({ filter: box.value });
    onInput();
  };
  const attributes = { type: "search", id: "filter", placeholder, value: read("filter"), spellcheck: "false" };
  const box = el("input", { ...attributes, on: { input } });
  return field(label, box, "field grow");
}

/** A checkbox that the address keeps. */
export function check(label, name, onChange) {
  return labelledCheck(label, isOn(name), (isOn) => {
    write({ [name]: isOn ? "1" : "" });
    onChange();
  });
}

/** What charts share, over an axis of `axes` or else a metric, whose label `label(name)` gives. */
export function xAxis(axes, label) {
  const x = read("x", "steps");
  return {
    xLabel: axes[x] ?? label(x) ?? x,
    wholeX: x === "steps",
    logX: isOn("logx"),
    logY: isOn("logy"),
    scatter: !axes[x], // another metric may fall and rise: no line goes through its points
  };
}

/** How much curves are smoothed; the server does it, over x. */
export function smoothing(onChange) {
  const weights = new Set(["0", "0.6", "0.9", "0.98", readWeight("smooth") ? read("smooth") : "0"]);
  const options = [...weights].map((weight) => [weight, weight === "0" ? "none" : percent(Number(weight))]);
  return select("Smoothing", "smooth", options, onChange, "0");
}
