const KEY = "pharos.theme"
const DARK = "(prefers-color-scheme: dark)"

export type Theme = "light" | "dark"
export type ThemeChoice = Theme | "system"

/** static/theme.js has set the attribute before the first paint; this is who changes it. */
class ThemeState {
  #theme: Theme = $state("light")
  #choice: ThemeChoice = $state("system")

  /** What the reader chose; the system, until then. */
  get choice(): ThemeChoice {
    return this.#choice
  }

  get current(): Theme {
    return this.#theme
  }

  /** Reads what theme.js chose and follows the system until the reader chooses; returns the undo. */
  follow(): () => void {
    this.#theme = document.documentElement.dataset.theme === "dark" ? "dark" : "light"
    this.#choice = stored() ?? "system"
    const system = matchMedia(DARK)
    const change = () => {
      if (this.#choice === "system") this.#show(system.matches ? "dark" : "light")
    }
    system.addEventListener("change", change)
    return () => system.removeEventListener("change", change)
  }

  toggle(): void {
    this.choose(this.#theme === "dark" ? "light" : "dark")
  }

  choose(choice: ThemeChoice): void {
    this.#choice = choice
    this.#show(choice === "system" ? (matchMedia(DARK).matches ? "dark" : "light") : choice)
    try {
      if (choice === "system") localStorage.removeItem(KEY)
      else localStorage.setItem(KEY, choice)
    } catch {
      // Storage is switched off: the choice holds for this page.
    }
  }

  #show(theme: Theme): void {
    this.#theme = theme
    const root = document.documentElement
    // Without this every coloured edge would fade at its own pace.
    root.classList.add("switching")
    root.dataset.theme = theme
    requestAnimationFrame(() => requestAnimationFrame(() => root.classList.remove("switching")))
  }
}

function stored(): Theme | null {
  try {
    const found = localStorage.getItem(KEY)
    return found === "light" || found === "dark" ? found : null
  } catch {
    return null
  }
}

export const theme = new ThemeState()
