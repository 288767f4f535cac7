// Server-sent events, read with fetch: EventSource can't send the token's header, and gives up on some errors.

import { BASE, headers } from "./api.js";

const BROWSER_KEY = "hlbq-browser";
const SILENCE_MS = 25_000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 5_000;
const TURN_MS = 1_000;

/**
 * Listen to a topic until `signal` is aborted. `query()` gives the parameters of each (re)connection; `onEvent(name,
 * data)` hears the events; `onState("live" | "lost" | "refused")` how the connection stands: refused is for good.
 */
export async function listen(topic, query, onEvent, onState, signal) {
  let wait = FIRST_WAIT_MS;
  let mustTakeTurns = false;
  const connected = () => {
    wait = FIRST_WAIT_MS;
    onState("live");
  };
  const hear = (name, data) => {
    if (name === "again") mustTakeTurns = true;
    else onEvent(name, data);
  };
  while (!signal.aborted) {
    mustTakeTurns = false;
    const parameters = new URLSearchParams({ ...query(), browser: browserName() });
    const status = await listenOnce(`${topic}?${parameters}`, hear, connected, signal).catch(() => 0);
    if (signal.aborted) return;
    if (status === 401) {
      onState("refused");
      return;
    }
    if (mustTakeTurns) {
      await pause(TURN_MS);
      await shown();
      continue;
    }
    onState("lost");
    await pause(wait);
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  }
}

/**
 * A name that all tabs of this browser share: it holds few connections to a server, over all tabs, so the server has
 * the tabs of one browser take turns (`again`). One that is not looked at waits until it is.
 */
function browserName() {
  return (localStorage[BROWSER_KEY] ??= crypto.getRandomValues(new Uint8Array(8)).join("-"));
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Resolves once the page is shown. */
async function shown() {
  while (document.hidden) {
    await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
  }
}

async function listenOnce(address, onEvent, connected, signal) {
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), SILENCE_MS);
  try {
    const either = AbortSignal.any([signal, silence.signal]);
    const response = await fetch(`${BASE}api/stream/${address}`, { headers: headers(), signal: either });
    if (!response.ok) return response.status;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return response.status;
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
      connected();
      text += value;
      const blocks = text.split("\n\n");
      text = blocks.pop();
      for (const block of blocks) deliver(block, onEvent);
    }
  } finally {
    clearTimeout(timer);
  }
}

function deliver(block, onEvent) {
  const lines = block.split("\n");
  const name = lines.find((line) => line.startsWith("event: "))?.slice(7);
  const data = lines.find((line) => line.startsWith("data: "))?.slice(6);
  if (name && data) onEvent(name, JSON.parse(data));
}
