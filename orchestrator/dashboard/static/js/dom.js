// Elements from plain values. Text is only ever set as text: no name of a sweep, setting or error becomes markup.

import { STATES } from "./format.js";

const ROWS_A_PAGE = 50;

/** An element: `el("a", { href: "/", class: "x", on: { click } }, "text", child)`. Children that are null are left out. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, String(value));
    }
  }
  element.append(...flat(children));
  return element;
}

function flat(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Replace all children. */
export function fill(element, ...children) {
  element.replaceChildren(...flat(children));
}

/** Set an element's text, only where it changes: what does not change is not laid out again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A button that does something here. */
export function button(content, click, attributes = {}) {
  return el("button", { type: "button", ...attributes, on: { click } }, content);
}

/** A control in its label. */
export function field(label, control, css = "field") {
  return el("label", { class: css }, el("span", {}, label), control);
}

/** A select in its label, whose `control` it is; `options` are [value, text]. */
export function labelledSelect(label, options, chosen, onChange = () => {}) {
  const select = el("select", { on: { change: () => onChange(select.value) } });
  setOptions(select, options, chosen);
  return field(label, select);
}

/** The options of a select, and which is chosen. */
export function setOptions(select, options, chosen) {
  fill(select, options.map(([value, text]) => el("option", { value, selected: value === chosen }, text)));
}

/** A checkbox in its label. */
export function labelledCheck(label, checked, onChange) {
  const input = el("input", { type: "checkbox", checked, on: { change: () => onChange(input.checked) } });
  return el("label", { class: "check" }, input, el("span", {}, label));
}

/** Content behind a summary, folded unless `open`. */
export function folded(summary, content, open = false) {
  return el("details", { open }, el("summary", {}, summary), content);
}

/** A bar whose parts are the runs by state. */
export function statesBar(counts) {
  const parts = STATES.toReversed().filter((state) => counts[state]);
  const bar = el("div", { class: "statebar", "aria-hidden": "true", hidden: !parts.length });
  for (const state of parts) {
    const part = el("span", { class: state, title: `${counts[state]} ${state}` });
    part.style.flexGrow = counts[state];
    bar.append(part);
  }
  return bar;
}

/** A list of pairs of a name and a value. */
export function definitions(css, pairs) {
  return el("dl", { class: css }, pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

const NUMBER = /^[-+<>≤≥~ ]*[\d.,]+(e[-+]?\d+)?( ?(%|s|min|h|d|K|M|B|T|KiB|MiB|GiB))*$/;

/**
 * A table from headers and rows of cells (texts or elements), a page at a time if there are very many. Columns of
 * numbers are aligned right.
 */
export function plainTable(caption, headers, rows, attributes = {}) {
  const isNumeric = headers.map((_, at) => {
    const cells = rows.map((row) => row[at]).filter((cell) => cell !== "" && cell !== null && cell !== undefined);
    return cells.length > 0 && cells.every((cell) => NUMBER.test(cell.textContent ?? cell));
  });
  const row = (tag, cells, extra = {}) =>
    el("tr", {}, cells.map((cell, at) => el(tag, { ...extra, class: isNumeric[at] ? "numeric" : null }, cell)));
  const body = el("tbody");
  const show = (begin, end) => fill(body, rows.slice(begin, end).map((cells) => row("td", cells)));
  const pages = pager(caption, ROWS_A_PAGE, show);
  pages.show(rows.length);
  const head = el("thead", {}, row("th", headers, { scope: "col" }));
  const table = el("table", attributes, el("caption", { class: "sr-only" }, caption), head, body);
  const css = `table-scroll${rows.length > 15 ? " tall" : ""}`;
  return [el("div", { class: css, tabindex: "0", role: "region", "aria-label": caption }, table), pages.root];
}

/** Buttons through pages of `most` rows; `onPage(begin, end, page)` shows those of a page. */
export function pager(caption, most, onPage, page = 1) {
  const root = el("nav", { class: "pager", "aria-label": `Pages: ${caption}` });
  let drawn = "";
  const show = (total, wanted = page) => {
    const pages = Math.max(1, Math.ceil(total / most));
    page = Math.min(Math.max(wanted, 1), pages);
    onPage((page - 1) * most, page * most, page);
    if (drawn === `${page}/${pages}`) return;
    drawn = `${page}/${pages}`;
    const turn = (text, to, label) => {
      const disabled = to < 1 || to > pages || to === page;
      return button(text, () => show(total, to), { disabled, "aria-label": label });
    };
    const buttons = [
      turn("«", 1, "First page"),
      turn("‹", page - 1, "Page before"),
      el("span", {}, `page ${page} of ${pages}`),
      turn("›", page + 1, "Next page"),
      turn("»", pages, "Last page"),
    ];
    redrawn(root, () => fill(root, pages > 1 && buttons));
  };
  return { root, show };
}

/** At most one call each `milliseconds`, the last one never lost, until `signal` is aborted. */
export function throttled(milliseconds, action, signal) {
  let timer = null;
  let last = -Infinity;
  const run = () => {
    timer = null;
    last = performance.now();
    if (!signal.aborted) action();
  };
  return () => {
    timer ??= setTimeout(run, Math.max(0, last + milliseconds - performance.now()));
  };
}

/** Call `action` each `milliseconds` until `signal` is aborted. */
export function repeated(milliseconds, action, signal) {
  const timer = setInterval(action, milliseconds);
  signal.addEventListener("abort", () => clearInterval(timer));
}

/** Makes signals, each of which aborts the one before; all end with `signal`. */
export function oneAtATime(signal) {
  let last = new AbortController();
  return () => {
    last.abort();
    last = new AbortController();
    return AbortSignal.any([signal, last.signal]);
  };
}

/** Draw a part of a page anew; what has the focus keeps it: a link to the same address, a control of the same name. */
export function redrawn(root, draw) {
  const name = ({ id, href, ariaLabel, labels, textContent }) =>
    id || href || ariaLabel || (labels?.[0] ?? { textContent }).textContent;
  const focused = root.contains(document.activeElement) && name(document.activeElement);
  draw();
  if (focused) [...root.querySelectorAll("a[href], button, input, select")].find((one) => name(one) === focused)?.focus();
}
