// Questions and help, in the browser's own dialog element: it keeps the focus, and Escape closes it.

import { el } from "./dom.js";

/**
 * Ask; resolves to null for no, else to the values of the form by the names of its `fields`: { name, label, value, kind },
 * where `kind` is "number" or "area", else a line of text.
 */
export function ask(question, { detail = "", yes, danger = false, fields = [] }) {
  return new Promise((resolve) => {
    let answer = null;
    const inputs = fields.map(({ name, value, kind }) => {
      if (kind === "area") return el("textarea", { name, rows: 5 }, value);
      return el("input", kind === "number" ? { type: kind, step: 1, name, value, required: true } : { name, value });
    });
    const dialog = el("dialog",
      { "aria-labelledby": "question", on: { close: () => (dialog.remove(), resolve(answer)) } },
      el("form",
        {
          method: "dialog",
          on: { submit: () => (answer = Object.fromEntries(inputs.map(({ name, value }) => [name, value]))) },
        },
        el("h2", { id: "question" }, question),
        detail && el("p", {}, detail),
        inputs.map((input, at) => el("label", { class: "field" }, el("span", {}, fields[at].label), input)),
        el("div", { class: "buttons" },
          el("button", { type: "button", on: { click: () => dialog.close() } }, "Leave as it is"),
          el("button", { type: "submit", class: danger ? "danger" : "primary" }, yes),
        ),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
    inputs[0]?.select();
  });
}

const KEYS = [
  ["/", "to the filter of the runs"],
  ["s", "overview of sweeps"],
  ["w", "workers"],
  ["t", "theme: as the system, light, dark"],
  ["?", "this help"],
  ["← →", "in a chart: read values; Page Up and Page Down in larger steps"],
  ["Esc", "in a chart: show all of it again"],
  ["← →", "on tabs: the next one"],
];

/** Keys, and how charts and filters are used. */
export function showHelp() {
  const close = () => dialog.close();
  const dialog = el("dialog",
    { "aria-labelledby": "help-title", on: { close: () => dialog.remove() } },
    el("h2", { id: "help-title" }, "Keys and hints"),
    el("dl", { class: "keys" }, KEYS.map(([key, what]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, what)])),
    el("p", {},
      "Charts: drag to zoom, double-click to see all. A click on a name of the legend hides its line, with Alt all others.",
    ),
    el("p", {},
      "Filter: words that a run must contain, and conditions such as ",
      el("code", {}, "depth=4 state=failed val_loss<3.5 error~memory"),
      "; all must hold.",
    ),
    el("p", {}, "What you see stands in the address: copy it to come back to the same view."),
    el("div", { class: "buttons" }, el("button", { type: "button", class: "primary", on: { click: close } }, "Close")),
  );
  document.body.append(dialog);
  dialog.showModal();
}

/** A line that tells of something done, for some seconds. */
export function tell(text, isError = false) {
  let box = document.getElementById("told");
  if (!box) {
    box = el("div", { id: "told", role: "status", "aria-live": "polite" });
    document.body.append(box);
  }
  const line = el("p", { class: isError ? "told error" : "told" }, text);
  box.append(line);
  setTimeout(() => line.remove(), isError ? 12_000 : 6_000);
}
