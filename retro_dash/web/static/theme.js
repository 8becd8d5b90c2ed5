// Runs before the first paint: the theme a person chose, or the system's.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("retro-theme");
  } catch {
    // Storage may be switched off; the system's theme will do.
  }
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.documentElement.dataset.theme = chosen === "dark" || chosen === "light" ? chosen : system;
})();
