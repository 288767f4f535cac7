// Questions, in the browser's own dialog element: it keeps the focus, and Escape closes it.

import { button, el, field } from "./dom.js";

/**
 * Ask; resolves to null for no, else to the values of the form by the names of its `fields`: { name, label, value, kind },
 * where `kind` is "number" or "area", else a line of text. `problem` says why the last answer was refused.
 */
export function ask(question, { detail = "", problem = "", yes, danger = false, fields = [] }) {
  return new Promise((resolve) => {
    let answer = null;
    const submit = (event) => (answer = Object.fromEntries(new FormData(event.target)));
    const control = ({ name, value, kind }) => {
      if (kind === "area") return el("textarea", { name, rows: 5 }, value);
      return el("input", kind === "number" ? { type: kind, step: 1, name, value, required: true } : { name, value });
    };
    const dialog = el("dialog",
      { "aria-labelledby": "question", on: { close: () => (dialog.remove(), resolve(answer)) } },
      el("form", { method: "dialog", on: { submit } },
        el("h2", { id: "question" }, question),
        detail && el("p", {}, detail),
        problem && el("p", { class: "problem", role: "alert" }, problem),
        fields.map((one) => field(one.label, control(one))),
        el("div", { class: "buttons" },
          button("Leave as it is", () => dialog.close()),
          el("button", { type: "submit", class: danger ? "danger" : "primary" }, yes),
        ),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
    dialog.querySelector("input, textarea")?.select();
  });
}

/** A line that tells of something done, for some seconds. */
export function tell(text, isError = false) {
  const box = document.getElementById("told");
  const line = el("p", { class: isError ? "told error" : "told" }, text);
  box.append(line);
  setTimeout(() => line.remove(), isError ? 12_000 : 6_000);
}
