// Tabs as the ARIA practices have them: one is in the tab order, arrows go to the others.

import { el } from "./dom.js";

/** Tabs of [key, title]; `onChoose(key)` hears of a choice. */
export function tabs(label, entries, chosen, onChoose) {
  const panel = el("div", { role: "tabpanel", class: "panel", id: "panel", tabindex: "-1" });
  const choose = (key, focus) => {
    for (const button of list.children) {
      const isChosen = button.dataset.key === key;
      button.setAttribute("aria-selected", String(isChosen));
      button.tabIndex = isChosen ? 0 : -1;
      if (isChosen) {
        panel.setAttribute("aria-labelledby", button.id);
        if (focus) button.focus();
      }
    }
    onChoose(key);
  };
  const move = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const keys = entries.map(([key]) => key);
    const at = keys.indexOf(event.target.dataset.key);
    choose(keys[(at + step + keys.length) % keys.length], true);
  };
  const list = el("div", { role: "tablist", "aria-label": label, on: { keydown: move } },
    entries.map(([key, title]) =>
      el("button",
        {
          type: "button",
          role: "tab",
          id: `tab-${key}`,
          "data-key": key,
          "aria-controls": "panel",
          on: { click: () => choose(key, false) },
        },
        title,
      ),
    ),
  );
  const known = entries.some(([key]) => key === chosen);
  return { list, panel, start: () => choose(known ? chosen : entries[0][0], false) };
}
