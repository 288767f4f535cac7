// The pages' common frame: which page stands at which address, the token, the theme, keys, and how the server stands.

import { BASE, get, hasToken, setToken, takeToken } from "./api.js";
import { ComparePage } from "./compare_page.js";
import { showHelp } from "./dialogs.js";
import { el, fill, setText } from "./dom.js";
import { OverviewPage } from "./overview_page.js";
import { RunPage } from "./run_page.js";
import { SweepPage } from "./sweep_page.js";
import { WorkersPage } from "./workers_page.js";

const PAGES = [
  [/^$/, OverviewPage, "overview"],
  [/^sweeps\/([\d,]+)$/, SweepPage, "overview"],
  [/^runs\/(\d+)$/, RunPage, "overview"],
  [/^workers$/, WorkersPage, "workers"],
  [/^compare$/, ComparePage, "overview"],
];
const THEMES = ["auto", "light", "dark"];

const main = document.getElementById("main");
const banner = document.getElementById("banner");
const live = document.getElementById("live");
let page = null;
let server = null;
let opened = 0;

/** How the server and its database stand; pages tell, the frame shows. */
const connection = {
  state(state) {
    if (state === "refused") {
      fail({ status: 401 });
      return;
    }
    live.className = `live ${state}`;
    setText(live, state === "live" ? "live" : "not connected");
    if (state === "lost")
      show("The dashboard's server does not answer. What you see may be old; it is tried again.", true);
    else if (this.isLost) show("");
    this.isLost = state === "lost";
  },
  trouble({ error, hint }) {
    show(`What you see may be old: ${error}. ${hint ?? ""}`);
  },
  fine() {
    if (!this.isLost) show("");
  },
  isLost: false,
};

function show(text) {
  setText(banner, text);
  banner.hidden = !text;
}

async function open() {
  const number = (opened += 1);
  page?.destroy();
  page = null;
  show("");
  const found = PAGES.map(([pattern, kind, name]) => [pattern.exec(location.pathname.slice(BASE.length)), kind, name]).find(
    ([match]) => match,
  );
  const [match, Kind, name] = found ?? [[], null, ""];
  for (const link of document.querySelectorAll("nav a[data-page]")) {
    if (link.dataset.page === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!Kind) {
    fill(main, el("h1", {}, "There is no such page"), el("p", {}, el("a", { href: BASE }, "To the sweeps")));
    return;
  }
  try {
    server ??= await get("about");
    setText(document.getElementById("database"), server.database);
    document.getElementById("database").title = server.database;
    if (number !== opened) return;
    // Each page has a root of its own: one that was left while it was being read shows nothing any more.
    const root = el("div", {}, el("p", { class: "faint" }, "Reading …"));
    fill(main, root);
    const own = new Kind(root, { id: match[1], server, connection: connectionWhile(() => number === opened) });
    page = own; // `destroy` may come before `start` is done
    await own.start();
  } catch (error) {
    if (number === opened) fail(error);
  }
}

/** The connection as a page may tell of it: what it says after it was left is not heard. */
function connectionWhile(isOpen) {
  const guarded = (name) => [name, (...told) => isOpen() && connection[name](...told)];
  return Object.fromEntries(["state", "trouble", "fine"].map(guarded));
}

function fail(error) {
  page?.destroy();
  page = null;
  if (error.status === 401) {
    askForLink();
    return;
  }
  const again = el("button", { type: "button", class: "primary", on: { click: open } }, "Try again");
  fill(main,
    el("h1", {}, "This page can't be shown"),
    el("p", { role: "alert" }, `${error.message}. ${error.hint ?? ""}`),
    again,
  );
  if (error.status === 0 || error.status === 503) setTimeout(() => !page && document.contains(again) && open(), 2_000);
  if (!("status" in error)) throw error;
}

function askForLink() {
  const field = el("input", { type: "password", id: "link", autocomplete: "off", required: true });
  const submit = (event) => {
    event.preventDefault();
    setToken(/[\w-]+$/.exec(field.value.trim())?.[0] ?? "");
    server = null;
    open();
  };
  fill(main,
    el("h1", {}, "Open the link that was printed"),
    el("p", {},
      "This page shows nothing without the token that ",
      el("code", {}, "hlbq dashboard"),
      " printed when it was started. Open that link, or paste it here.",
    ),
    hasToken() &&
      el("p", { class: "problem", role: "alert" },
        "The token at hand is not this server's: another database's dashboard, or a new token.",
      ),
    el("form", { class: "row", on: { submit } },
      el("label", { class: "field grow" }, el("span", {}, "Link or token"), field),
      el("button", { type: "submit", class: "primary" }, "Open"),
    ),
  );
}

/** Links to other pages of the dashboard need no new document. */
function onClick(event) {
  const link = event.target.closest?.("a[href]");
  const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!link || !isPlain || link.hasAttribute("download") || link.origin !== location.origin) return;
  event.preventDefault();
  const address = link.getAttribute("href");
  // A jump within the page is no other page: the address, which keeps the view, stays as it is.
  if (address.startsWith("#")) document.getElementById(address.slice(1))?.focus();
  else go(link.href);
}

async function go(address) {
  history.pushState(null, "", address);
  window.scrollTo(0, 0);
  await open();
  main.focus({ preventScroll: true });
}

function setTheme(theme) {
  if (theme === "auto") {
    localStorage.removeItem("hlbq-theme");
    delete document.documentElement.dataset.theme;
  } else {
    localStorage.setItem("hlbq-theme", theme);
    document.documentElement.dataset.theme = theme;
  }
  setText(document.getElementById("theme"), `Theme: ${theme}`);
  document.dispatchEvent(new Event("themechange"));
}

function nextTheme() {
  const now = document.documentElement.dataset.theme ?? "auto";
  setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
}

function onKey(event) {
  const isTyping = event.target.closest?.("input:not([type=checkbox]), select, textarea, dialog");
  if (isTyping || event.metaKey || event.ctrlKey || event.altKey) return;
  const actions = {
    "/": () => document.getElementById("filter")?.focus(),
    s: () => go(BASE),
    w: () => go(`${BASE}workers`),
    t: nextTheme,
    "?": showHelp,
  };
  if (!actions[event.key]) return;
  event.preventDefault();
  actions[event.key]();
}

// Their relative addresses would mean others once the page's own address is another.
for (const link of document.querySelectorAll('a[href]:not([href^="#"]), link[rel=icon]')) link.setAttribute("href", link.href);
takeToken();
setText(document.getElementById("theme"), `Theme: ${document.documentElement.dataset.theme ?? "auto"}`);
document.getElementById("theme").addEventListener("click", nextTheme);
document.getElementById("help").addEventListener("click", showHelp);
document.addEventListener("click", onClick);
document.addEventListener("keydown", onKey);
window.addEventListener("popstate", open);
// A new link pasted into an open page brings a new token.
window.addEventListener("hashchange", () => {
  if (!location.hash.startsWith("#token=")) return;
  takeToken();
  server = null;
  open();
});
open();
