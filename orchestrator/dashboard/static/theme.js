// Runs before anything is painted, so that a dark page does not flash white. Not a module for that reason.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  /** Show the theme that was chosen, or else the system's; `themechange` tells what draws by itself. */
  window.showTheme = () => {
    const chosen = localStorage.getItem("hlbq-theme");
    const isDark = chosen === "dark" || (chosen !== "light" && system.matches);
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
    document.dispatchEvent(new Event("themechange"));
  };
  system.addEventListener("change", window.showTheme);
  window.showTheme();
})();
