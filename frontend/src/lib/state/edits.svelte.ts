import { SvelteMap } from "svelte/reactivity"
import { toasts } from "./toasts.svelte"

/** Changes of one's own that helm has not acknowledged yet, by record: shown at once, with a broken ring (ui.md §5.10). */
class Edits {
  readonly #pending = new SvelteMap<string, Record<string, unknown>>()

  /** What is on its way for a record; null: nothing. */
  of(id: string): Record<string, unknown> | null {
    return this.#pending.get(id) ?? null
  }

  /** A record with what is on its way put over it. */
  over<T extends { id: string }>(record: T): T {
    const pending = this.#pending.get(record.id)
    return pending ? { ...record, ...pending } : record
  }

  /** Shows `part` until `sent` is answered; where it fails it turns back, and a toast says why. Returns whether it held. */
  async send<T>(id: string, part: Record<string, unknown>, sent: () => Promise<T>, what?: string): Promise<T | null> {
    this.#pending.set(id, part)
    try {
      return await sent()
    } catch (error) {
      toasts.fail(error, what)
      return null
    } finally {
      if (this.#pending.get(id) === part) this.#pending.delete(id)
    }
  }
}

export const edits = new Edits()
