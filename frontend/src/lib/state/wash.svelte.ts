import { SvelteMap } from "svelte/reactivity"

/** The longest of the wash and of its still form. */
const SHOWN = 3_000
const ROW_EVERY = 2_000
const PER_SECOND = 12

/** What has just changed, by id: at most once in 2 s for a row, and 12 rows a second (ui.md §5.5). */
export class Washes {
  readonly #until = new SvelteMap<string, number>()
  readonly #last = new Map<string, number>()
  #second = 0
  #used = 0

  /** Marks a row. `held`: a reader looks at the table, and nothing washes under the eyes. */
  mark(id: string, now = Date.now(), held = false): void {
    if (held || now - (this.#last.get(id) ?? -Infinity) < ROW_EVERY) return
    if (Math.floor(now / 1_000) !== this.#second) {
      this.#second = Math.floor(now / 1_000)
      this.#used = 0
    }
    if (this.#used >= PER_SECOND) return
    this.#used += 1
    if (this.#last.size > 1_000) this.#last.clear()
    this.#last.set(id, now)
    const until = now + SHOWN
    this.#until.set(id, until)
    setTimeout(() => {
      if (this.#until.get(id) === until) this.#until.delete(id)
    }, SHOWN)
  }

  has(id: string): boolean {
    return this.#until.has(id)
  }
}

export const washes = new Washes()
