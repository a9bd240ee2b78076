import type { Key } from "$lib/i18n/index.svelte"

const STORED = "pharos.keys"
/** How long `G` waits for its second key. */
const SEQUENCE = 1_200

export interface Shortcut {
  /** As it is typed: `/`, `?`, `g o`, `mod+k`, `shift+x`. */
  keys: string
  /** What it does, for the list of all keys. */
  says: Key
  act: (event: KeyboardEvent) => void
}

/** Keys of the whole page; single letters can be switched off, and are dead in fields. */
class Keys {
  singles = $state(true)
  /** Something that takes what is typed is on its way. */
  muted = false
  readonly #shortcuts = new Map<string, Shortcut[]>()
  shown: readonly Shortcut[] = $state.raw([])
  #first = ""
  #firstAt = 0

  constructor() {
    try {
      this.singles = globalThis.localStorage?.getItem(STORED) !== "off"
    } catch {
      // Storage is switched off.
    }
  }

  allow(singles: boolean): void {
    this.singles = singles
    try {
      localStorage.setItem(STORED, singles ? "on" : "off")
    } catch {
      // Storage is switched off.
    }
  }

  /** Adds shortcuts; the newest of one key wins. Returns their end. */
  add(shortcuts: readonly Shortcut[]): () => void {
    for (const one of shortcuts) this.#shortcuts.set(one.keys, [...(this.#shortcuts.get(one.keys) ?? []), one])
    this.#list()
    return () => {
      for (const one of shortcuts) {
        const left = (this.#shortcuts.get(one.keys) ?? []).filter((other) => other !== one)
        if (left.length) this.#shortcuts.set(one.keys, left)
        else this.#shortcuts.delete(one.keys)
      }
      this.#list()
    }
  }

  handle(event: KeyboardEvent): void {
    if (event.defaultPrevented || event.isComposing) return
    const name = nameOf(event)
    const plain = !name.includes("mod+") && !name.includes("alt+")
    if (plain && (!this.singles || this.muted || inField(event.target) || (overlaid() && name !== "?"))) return
    const now = event.timeStamp
    const two = now - this.#firstAt < SEQUENCE ? `${this.#first} ${name}` : ""
    const found = this.#shortcuts.get(two)?.at(-1) ?? this.#shortcuts.get(name)?.at(-1)
    this.#first = this.#first === "" && name === "g" ? "g" : ""
    this.#firstAt = now
    if (!found) return
    event.preventDefault()
    found.act(event)
  }

  #list(): void {
    this.shown = [...this.#shortcuts.values()].flatMap((all) => all.at(-1) ?? [])
  }
}

function nameOf(event: KeyboardEvent): string {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key
  const mods = [
    event.ctrlKey || event.metaKey ? "mod+" : "",
    event.altKey ? "alt+" : "",
    // Of signs such as `?` the shift is part.
    event.shiftKey && /^[a-z]$|^[A-Z][a-z]+/.test(key) ? "shift+" : "",
  ]
  return mods.join("") + key
}

function inField(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)
}

const overlaid = () => document.querySelector('[role="dialog"][data-state="open"], [role="menu"]') !== null

export const keys = new Keys()
