// The pages' common frame: which page stands at which address, the token, the theme, keys, and how the server stands.

import { BASE, get, hasToken, setToken, takeToken } from "./api.js";
import { ComparePage } from "./compare_page.js";
import { button, el, fill, setText } from "./dom.js";
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
const database = document.getElementById("database");
const themeButton = document.getElementById("theme");
let server = null;
let leaving = new AbortController(); // ends what the page that is open began
let isLost = false;

/** How the server and its database stand: the page that is open tells, the frame shows. */
const connection = {
  state(state) {
    if (state === "refused") {
      fail({ status: 401 });
      return;
    }
    live.className = `live ${state}`;
    setText(live, state === "live" ? "live" : "not connected");
    if (state === "lost") show("The dashboard's server does not answer. What you see may be old. It keeps trying.");
    else if (isLost) show("");
    isLost = state === "lost";
  },
  trouble({ error, hint }) {
    show(`What you see may be old: ${error}. ${hint ?? ""}`);
  },
  fine() {
    if (!isLost) show("");
  },
};

function show(text) {
  setText(banner, text);
  banner.hidden = !text;
}

async function open() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  show("");
  const path = location.pathname.slice(BASE.length).replaceAll(/%2c/gi, ",");
  const [pattern, Page, name] = PAGES.find(([pattern]) => pattern.test(path)) ?? [];
  for (const link of document.querySelectorAll("nav a[data-page]")) {
    link.ariaCurrent = link.dataset.page === name ? "page" : null;
  }
  if (!Page) {
    fill(main, el("h1", {}, "There is no such page"), el("p", {}, el("a", { href: BASE }, "To the sweeps")));
    return;
  }
  try {
    server ??= await get("about");
    if (signal.aborted) return;
    setText(database, server.database);
    database.title = server.database;
    const root = el("div", {}, el("p", { class: "faint" }, "Reading …"));
    fill(main, root);
    await new Page(root, { id: pattern.exec(path)[1], server, connection, signal }).start();
  } catch (error) {
    if (!signal.aborted) fail(error);
  }
}

function fail(error) {
  leaving.abort();
  if (error.status === 401) {
    askForLink();
    return;
  }
  const again = button("Try again", open, { class: "primary" });
  fill(main,
    el("h1", {}, "This page can't be shown"),
    el("p", { role: "alert" }, `${error.message}. ${error.hint ?? ""}`),
    again,
  );
  if (error.status === 0 || error.status === 503) setTimeout(() => document.contains(again) && open(), 2_000);
  if (!("status" in error)) throw error;
}

function askForLink() {
  fill(main, document.getElementById("ask-link").content.cloneNode(true));
  main.querySelector(".problem").hidden = !hasToken();
  main.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const typed = new FormData(event.target).get("link").trim();
    setToken(/[\w-]+$/.exec(typed)?.[0] ?? "");
    server = null;
    open();
  });
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

const showHelp = () => document.getElementById("keys").showModal();

const chosenTheme = () => localStorage.getItem("hlbq-theme") ?? "auto";

function nextTheme() {
  localStorage.setItem("hlbq-theme", THEMES[(THEMES.indexOf(chosenTheme()) + 1) % THEMES.length]);
  window.showTheme();
  setText(themeButton, `Theme: ${chosenTheme()}`);
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
setText(themeButton, `Theme: ${chosenTheme()}`);
themeButton.addEventListener("click", nextTheme);
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
