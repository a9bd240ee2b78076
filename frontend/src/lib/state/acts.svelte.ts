import { untrack, type Component } from "svelte"
import type { Role } from "$lib/api/types"

/** Something the palette can do. */
export interface Act {
  id: string
  label: string
  icon?: Component<Record<string, unknown>>
  /** What follows: "486 sessions move". */
  consequence?: string
  /** Other words by which it is found. */
  words?: string
  role: Role
  run: () => void
}

/** Acts of the page that is open; those of every page are the palette's own. */
class Acts {
  readonly #sets = new Set<() => readonly Act[]>()
  #changes = $state(0)

  get all(): readonly Act[] {
    void this.#changes
    return [...this.#sets].flatMap((read) => read())
  }

  add(read: () => readonly Act[]): () => void {
    this.#sets.add(read)
    this.#changes += 1
    return () => {
      this.#sets.delete(read)
      this.#changes += 1
    }
  }
}

export const acts = new Acts()
/** Called while a page is set up. */
export function useActs(read: () => readonly Act[]): void {
  // Adding counts a change, which is read for that: the effect would run for ever by what it does itself.
  $effect(() => untrack(() => acts.add(read)))
}
