// Elements from plain values. Text is only ever set as text: no name of a sweep, setting or error becomes markup.

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
  fill(
    select,
    options.map(([value, text]) => el("option", { value, selected: value === chosen }, text)),
  );
}

/** A checkbox with its label. */
export function labelledCheck(label, checked, onChange) {
  const input = el("input", { type: "checkbox", checked, on: { change: () => onChange(input.checked) } });
  return { root: el("label", { class: "check" }, input, el("span", {}, label)), input };
}

/** A table from headers and rows of cells (texts or elements). */
export function plainTable(caption, headers, rows, attributes = {}) {
  return el(
    "div",
    { class: "table-scroll", tabindex: "0", role: "region", "aria-label": caption },
    el(
      "table",
      attributes,
      el("caption", { class: "sr-only" }, caption),
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          headers.map((header) => el("th", { scope: "col" }, header)),
        ),
      ),
      el(
        "tbody",
        {},
        rows.map((row) =>
          el(
            "tr",
            {},
            row.map((cell) => el("td", {}, cell)),
          ),
        ),
      ),
    ),
  );
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
