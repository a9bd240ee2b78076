const KEY = "pharos.theme"

export type Theme = "light" | "dark"

/** static/theme.js has set the attribute before the first paint; this is who changes it. */
class ThemeState {
  #theme: Theme = $state("light")

  get current(): Theme {
    return this.#theme
  }

  /** Reads what theme.js chose and follows the system until the reader chooses; returns the undo. */
  follow(): () => void {
    this.#theme = document.documentElement.dataset.theme === "dark" ? "dark" : "light"
    const system = matchMedia("(prefers-color-scheme: dark)")
    const change = () => {
      if (!stored()) this.#show(system.matches ? "dark" : "light")
    }
    system.addEventListener("change", change)
    return () => system.removeEventListener("change", change)
  }

  toggle(): void {
    this.#show(this.#theme === "dark" ? "light" : "dark")
    try {
      localStorage.setItem(KEY, this.#theme)
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

function stored(): string | null {
  try {
    return localStorage.getItem(KEY)
  } catch {
    return null
  }
}

export const theme = new ThemeState()
