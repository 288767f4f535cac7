// What a reader may change. Cancel, retry, pause, priority: ask the server how many runs are meant, ask the reader, then
// do it. Name, tags and note of a sweep or a run.

import { post } from "./api.js";
import { ask, tell } from "./dialogs.js";
import { button, el } from "./dom.js";
import { counted, isOpen } from "./format.js";

const ACTIONS = [
  ["pause", "Pause", "Pause", "paused", "Workers do not take paused runs. Running runs go on."],
  ["unpause", "Unpause", "Let workers take", "unpaused", ""],
  ["retry", "Retry", "Put back into the queue", "back in the queue", "They go on from their newest checkpoint."],
  ["priority", "Raise priority", "Set the priority of", "given their new priority", "Workers take the highest first."],
  ["cancel", "Cancel", "Cancel", "cancelled", "This takes effect at once. Retry brings them back."],
].map(([name, text, verb, done, detail]) => ({ name, text, verb, done, detail, danger: name === "cancel" }));

/**
 * The row of all that may be changed, after the words of `aim`. `target()` gives what the buttons act on: { sweeps, runs,
 * words, of }, where `words` says it to people, and `of` are the runs that are meant. `labels()` gives what else is edited,
 * if it is given: { sweep or run, name (of sweeps), tags, note }; `onLabelled()` hears that it was. `update()` lets those
 * buttons be pressed that have something to do.
 */
export function controlRow(server, { target, aim = null, labels, onLabelled }) {
  if (server.read_only) {
    return { root: el("p", { class: "faint" }, "Read-only: nothing can be changed from here."), update() {} };
  }
  const buttons = ACTIONS.map((action) => {
    const attributes = { class: action.danger ? "danger" : "", "data-action": action.name };
    return button(action.text, () => act(action, target(), server), attributes);
  });
  const update = () => {
    const { of } = target();
    const open = of.filter(isOpen);
    const useful = {
      unpause: open.some((run) => run.paused),
      retry: of.some(({ state }) => state === "failed" || state === "cancelled"),
    };
    for (const one of buttons) one.disabled = !(useful[one.dataset.action] ?? open.length > 0);
  };
  update();
  const group = el("div", { class: "controls", role: "group", "aria-label": "Change runs" }, buttons);
  const what = labels && "name" in labels() ? "Edit name, tags and note" : "Edit tags and note";
  const editing = labels && button(what, () => edit(labels(), what, onLabelled));
  return { root: el("div", { class: "row act" }, aim, group, editing), update };
}

async function act(action, target, server) {
  const asked = { action: action.name, sweeps: target.sweeps, runs: target.runs };
  try {
    const { count } = await post("control/count", asked);
    if (!count) {
      const retried = `failed or cancelled (stopped early: hlbq retry${server.option} --reason pruned)`;
      const wanted = action.name === "retry" ? retried : "pending or running";
      tell(`Nothing to do: of ${target.words} no run is ${wanted}.`);
      return;
    }
    const question = `${action.verb} ${counted(count, "run")} of ${target.words}?`;
    const highest = target.of.reduce((most, run) => Math.max(most, run.priority), 0);
    const priority = { name: "priority", label: "New priority", value: highest + 1, kind: "number" };
    const fields = action.name === "priority" ? [priority] : [];
    const yes = `${action.text}: ${counted(count, "run")}`;
    const answer = await ask(question, { detail: action.detail, yes, danger: action.danger, fields });
    if (answer === null) return;
    const { changed } = await post("control", fields.length ? { ...asked, priority: Number(answer.priority) } : asked);
    tell(`${counted(changed, "run")} ${action.done}.`);
  } catch (error) {
    tell(`Nothing was changed: ${error.message}. ${error.hint ?? ""}`, true);
  }
}

async function edit({ sweep, run, name, tags, note }, what, onLabelled) {
  const question = `${what} of ${sweep ? `sweep ${sweep}` : `run ${run}`}`;
  let [typed, problem] = [{ name, tags: tags.join(" "), note }, ""];
  for (;;) {
    const fields = [
      { name: "tags", label: "Tags, separated by spaces", value: typed.tags },
      { name: "note", label: "Note", value: typed.note, kind: "area" },
    ];
    if (name !== undefined) fields.unshift({ name: "name", label: "Name", value: typed.name });
    typed = await ask(question, { problem, yes: "Save", fields });
    if (!typed) return;
    const wanted = typed.tags.split(/\s+/).filter(Boolean);
    const [add, remove] = [wanted.filter((tag) => !tags.includes(tag)), tags.filter((tag) => !wanted.includes(tag))];
    const changed = ["name", "note"].filter((one) => one in typed && typed[one] !== { name, note }[one]);
    const texts = Object.fromEntries(changed.map((one) => [one, typed[one]]));
    try {
      await post("labels", { ...(sweep ? { sweep } : { run }), ...texts, add, remove });
      tell("Saved.");
      onLabelled();
      return;
    } catch (error) {
      problem = `Nothing was changed: ${error.message}. ${error.hint ?? ""}`;
    }
  }
}
