// Runs before the first paint, so that the page never flashes in the wrong theme; lib/state/theme.svelte.ts
// takes over from here.
{
  let choice = null
  try {
    choice = localStorage.getItem("pharos.theme")
  } catch {
    // Storage is switched off: follow the system.
  }
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"
  document.documentElement.dataset.theme = choice === "light" || choice === "dark" ? choice : system
}
