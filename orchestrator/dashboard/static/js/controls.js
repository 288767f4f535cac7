// Cancel, retry, pause, priority: ask the server how many runs are meant, ask the reader, then do it.

import { post } from "./api.js";
import { ask, tell } from "./dialogs.js";
import { el } from "./dom.js";
import { counted } from "./format.js";

const ACTIONS = [
  action("pause", "Pause", "Pause", "paused", "Workers take no paused run; those that are running go on."),
  action("unpause", "Unpause", "Let workers take", "unpaused", ""),
  action("retry", "Retry", "Put back into the queue", "back in the queue", "They go on from their newest checkpoint."),
  action("priority", "Raise priority", "Set the priority of", "given their new priority", "Higher is taken first."),
  action("cancel", "Cancel", "Cancel", "cancelled", "It holds at once; Retry brings them back."),
];

function action(name, text, verb, done, detail) {
  return { name, text, verb, done, detail, danger: name === "cancel" };
}

/**
 * The buttons. `target()` gives what they act on: { sweeps, runs, words, priority, states, paused }, where `words` says it
 * to people, `priority` is the highest that any of the runs has, `states` are those they are in, and `paused` is whether
 * any is. `update()` lets those be pressed that have something to do.
 */
export function controlButtons(target, onChanged = () => {}) {
  const buttons = ACTIONS.map((action) =>
    el("button",
      {
        type: "button",
        class: action.danger ? "danger" : "",
        "data-action": action.name,
        on: { click: () => act(action, target(), onChanged) },
      },
      action.text,
    ),
  );
  const update = () => {
    const { states, paused } = target();
    const isOpen = states.includes("pending") || states.includes("running");
    const hasEnded = states.includes("failed") || states.includes("cancelled");
    const useful = { unpause: paused, retry: hasEnded };
    for (const button of buttons) button.disabled = !(useful[button.dataset.action] ?? isOpen);
  };
  update();
  return { root: el("div", { class: "controls", role: "group", "aria-label": "Change runs" }, buttons), update };
}

async function act(action, target, onChanged) {
  const asked = { action: action.name, sweeps: target.sweeps, runs: target.runs };
  try {
    const { count } = await post("control/count", asked);
    if (!count) {
      tell(`Nothing to do: of ${target.words} no run is ${nothing(action.name)}.`);
      return;
    }
    const question = `${action.verb} ${counted(count, "run")} of ${target.words}?`;
    const priority = { name: "priority", label: "New priority", value: target.priority + 1, kind: "number" };
    const fields = action.name === "priority" ? [priority] : [];
    const yes = `${action.text}: ${counted(count, "run")}`;
    const answer = await ask(question, { detail: action.detail, yes, danger: action.danger, fields });
    if (answer === null) return;
    const { changed } = await post("control", fields.length ? { ...asked, priority: Number(answer.priority) } : asked);
    tell(`${counted(changed, "run")} ${action.done}.`);
    onChanged();
  } catch (error) {
    tell(`Nothing was changed: ${error.message}. ${error.hint ?? ""}`, true);
  }
}

function nothing(action) {
  return action === "retry" ? "failed or cancelled (stopped early: hlbq retry --reason pruned)" : "pending or running";
}
