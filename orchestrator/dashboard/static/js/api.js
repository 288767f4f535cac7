// Asking the server. The token came in the link's fragment; it is kept in this origin's storage and sent as a header.

/** Where the dashboard stands on its host: "/", or a longer path behind a proxy that takes a prefix away. */
export const BASE = new URL("../../", import.meta.url).pathname;

// Another dashboard may stand under another prefix of the same host.
const KEY = BASE === "/" ? "hlbq-token" : `hlbq-token ${BASE}`;

/** An answer that is not the one hoped for: `status` 0 where there was no answer. */
export class ApiError extends Error {
  constructor(status, message, hint = "") {
    super(message);
    this.status = status;
    this.hint = hint;
  }
}

/** Take the token out of the address, so that it does not stand in the history. */
export function takeToken() {
  const match = /^#token=([\w-]+)$/.exec(location.hash);
  if (!match) return;
  setToken(match[1]);
  history.replaceState(null, "", location.pathname + location.search);
}

/** Keep a token for the pages of this origin. */
export function setToken(token) {
  localStorage.setItem(KEY, token);
}

/** Whether there is a token at hand, right or wrong. */
export function hasToken() {
  return Boolean(localStorage.getItem(KEY));
}

/** The headers that every request needs. */
export function headers() {
  return { Authorization: `Bearer ${localStorage.getItem(KEY) ?? ""}` };
}

/** GET /api/... as JSON. Throws ApiError. */
export async function get(path, signal) {
  const content = await answered(fetch(`${BASE}api/${path}`, { headers: headers(), signal }));
  signal?.throwIfAborted();
  return content;
}

/** POST /api/... as JSON. Throws ApiError. */
export async function post(path, content) {
  const own = { ...headers(), "Content-Type": "application/json" };
  return answered(fetch(`${BASE}api/${path}`, { method: "POST", headers: own, body: JSON.stringify(content) }));
}

async function answered(request) {
  const response = await request.catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "the dashboard's server does not answer", "Is `hlbq dashboard` still running?");
  });
  const content = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new ApiError(response.status, content.error ?? `the server answered ${response.status}`, content.hint);
  }
  return content;
}
