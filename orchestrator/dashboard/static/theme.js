// Runs before anything is painted, so that a dark page does not flash white. Not a module for that reason.
(() => {
  const chosen = localStorage.getItem("hlbq-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
