// Elements from plain values. Text is only ever set as text: no name of a sweep, setting or error becomes markup.

import { percent } from "./format.js";
import * as view from "./view_state.js";

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

/** A select with its label; `options` are [value, text]. */
export function labelledSelect(label, options, chosen, onChange) {
  const select = el("select", { on: { change: () => onChange(select.value) } });
  setOptions(select, options, chosen);
  return { root: el("label", { class: "field" }, el("span", {}, label), select), select };
}

/** The options of a select, and which is chosen. */
export function setOptions(select, options, chosen) {
  fill(select, options.map(([value, text]) => el("option", { value, selected: value === chosen }, text)));
}

/** A checkbox with its label. */
export function labelledCheck(label, checked, onChange) {
  const input = el("input", { type: "checkbox", checked, on: { change: () => onChange(input.checked) } });
  return { root: el("label", { class: "check" }, input, el("span", {}, label)), input };
}

/** How much curves are smoothed, kept in the address; the server does it, over x. */
export function smoothingSelect(onChange) {
  const weight = view.readWeight("smooth");
  const options = [...new Set([0, 0.6, 0.9, 0.98, weight])].map((one) => [String(one), one ? percent(one) : "none"]);
  return labelledSelect("Smoothing", options, String(weight), (value) => {
    view.write({ smooth: value }, { smooth: "0" });
    onChange();
  }).root;
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
    const button = (text, to, label) => {
      const disabled = to < 1 || to > pages || to === page;
      return el("button", { type: "button", disabled, "aria-label": label, on: { click: () => show(total, to) } }, text);
    };
    fill(root,
      pages > 1 && [
        button("«", 1, "First page"),
        button("‹", page - 1, "Page before"),
        el("span", {}, `page ${page} of ${pages}`),
        button("›", page + 1, "Next page"),
        button("»", pages, "Last page"),
      ],
    );
  };
  return { root, show };
}

/** At most one call each `milliseconds`, the last one never lost. */
export function throttled(milliseconds, action) {
  let timer = null;
  let last = -Infinity;
  const run = () => {
    timer = null;
    last = performance.now();
    action();
  };
  const call = () => {
    if (timer === null) timer = setTimeout(run, Math.max(0, last + milliseconds - performance.now()));
  };
  call.stop = () => clearTimeout(timer);
  return call;
}
