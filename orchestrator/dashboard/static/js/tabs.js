// Tabs as the ARIA practices have them: one is in the tab order, arrows go to the others.

import { button, el } from "./dom.js";

/** Tabs of [key, title]; `onChoose(key)` hears of a choice. */
export function tabs(label, entries, chosen, onChoose) {
  const panel = el("div", { role: "tabpanel", class: "panel", id: "panel", tabindex: "-1" });
  const choose = (key, focus) => {
    for (const tab of list.children) {
      const isChosen = tab.dataset.key === key;
      tab.ariaSelected = String(isChosen);
      tab.tabIndex = isChosen ? 0 : -1;
      if (isChosen && focus) tab.focus();
    }
    panel.setAttribute("aria-labelledby", `tab-${key}`);
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
    entries.map(([key, title]) => {
      const attributes = { role: "tab", id: `tab-${key}`, "data-key": key, "aria-controls": "panel" };
      return button(title, () => choose(key, false), attributes);
    }),
  );
  const known = entries.some(([key]) => key === chosen);
  return { list, panel, start: () => choose(known ? chosen : entries[0][0], false) };
}
