// Server-sent events, read with fetch: EventSource can't send the token's header, and gives up on some errors.

import { BASE, headers } from "./api.js";

const BROWSER_KEY = "hlbq-browser";
const SILENCE_MS = 25_000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 5_000;
const TURN_MS = 1_000;

/**
 * Listen to a topic until `close()`. `query()` gives the parameters of each (re)connection; `onEvent(name, data)` hears
 * the events; `onState("live" | "lost" | "refused")` how the connection stands: refused is for good.
 */
export function listen(topic, query, onEvent, onState) {
  const stopped = new AbortController();
  keepListening(topic, query, onEvent, onState, stopped.signal);
  return { close: () => stopped.abort() };
}

async function keepListening(topic, query, onEvent, onState, signal) {
  let wait = FIRST_WAIT_MS;
  while (!signal.aborted) {
    const connected = () => {
      wait = FIRST_WAIT_MS;
      onState("live");
    };
    let mustTakeTurns = false;
    const hear = (name, data) => {
      if (name === "again") mustTakeTurns = true;
      else onEvent(name, data);
    };
    const parameters = { ...query(), browser: browserName() };
    const status = await listenOnce(topic, parameters, hear, connected, signal).catch(() => 0);
    if (signal.aborted) return;
    if (status === 401) {
      onState("refused");
      return;
    }
    if (mustTakeTurns) {
      await pause(TURN_MS);
      await shown(signal);
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
  let name = localStorage.getItem(BROWSER_KEY);
  if (!name) {
    name = [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    localStorage.setItem(BROWSER_KEY, name);
  }
  return name;
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Resolves when the page is shown, or `signal` is aborted. */
function shown(signal) {
  return new Promise((resolve) => {
    const over = new AbortController();
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      over.abort();
      resolve();
    };
    document.addEventListener("visibilitychange", look, { signal: over.signal });
    signal.addEventListener("abort", look, { signal: over.signal });
    look();
  });
}

async function listenOnce(topic, parameters, onEvent, connected, signal) {
  const dropped = new AbortController();
  const drop = () => dropped.abort();
  signal.addEventListener("abort", drop);
  let silence = setTimeout(drop, SILENCE_MS);
  try {
    const query = new URLSearchParams(parameters);
    const response = await fetch(`${BASE}api/stream/${topic}?${query}`, { headers: headers(), signal: dropped.signal });
    if (!response.ok) return response.status;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return response.status;
      clearTimeout(silence);
      silence = setTimeout(drop, SILENCE_MS);
      connected();
      text += value;
      const blocks = text.split("\n\n");
      text = blocks.pop();
      for (const block of blocks) deliver(block, onEvent);
    }
  } finally {
    clearTimeout(silence);
    signal.removeEventListener("abort", drop);
  }
}

function deliver(block, onEvent) {
  const lines = block.split("\n");
  const name = lines.find((line) => line.startsWith("event: "))?.slice(7);
  const data = lines.find((line) => line.startsWith("data: "))?.slice(6);
  if (name && data) onEvent(name, JSON.parse(data));
}
