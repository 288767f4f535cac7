// Name, tags and note of a sweep or a run, edited.

import { post } from "./api.js";
import { ask, tell } from "./dialogs.js";
import { el } from "./dom.js";

/** A button that edits what `of()` gives: { sweep or run, name (of sweeps), tags, note }. */
export function labelButton(of, onChanged) {
  const what = "name" in of() ? "Edit name, tags and note" : "Edit tags and note";
  return el("button", { type: "button", on: { click: () => edit(of(), what, onChanged) } }, what);
}

async function edit({ sweep, run, name, tags, note }, what, onChanged) {
  const question = `${what} of ${sweep ? `sweep ${sweep}` : `run ${run}`}`;
  let typed = { name, tags: tags.join(" "), note };
  for (;;) {
    const fields = [
      { name: "tags", label: "Tags, with blanks between them", value: typed.tags },
      { name: "note", label: "Note", value: typed.note, kind: "area" },
    ];
    if (name !== undefined) fields.unshift({ name: "name", label: "Name", value: typed.name });
    typed = await ask(question, { yes: "Save", fields });
    if (!typed) return;
    const wanted = typed.tags.split(/\s+/).filter(Boolean);
    const [add, remove] = [wanted.filter((tag) => !tags.includes(tag)), tags.filter((tag) => !wanted.includes(tag))];
    const changed = ["name", "note"].filter((one) => one in typed && typed[one] !== { name, note }[one]);
    const texts = Object.fromEntries(changed.map((one) => [one, typed[one]]));
    try {
      await post("labels", { ...(sweep ? { sweep } : { run }), ...texts, add, remove });
      tell("Saved.");
      onChanged();
      return;
    } catch (error) {
      tell(`Nothing was changed: ${error.message}. ${error.hint ?? ""}`, true);
    }
  }
}
