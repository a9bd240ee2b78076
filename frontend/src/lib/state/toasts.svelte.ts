import { ApiError } from "$lib/api/client"
import { failureText } from "$lib/facts/failure"
import { t } from "$lib/i18n/index.svelte"

const SHOWN = 6_000
const MOST = 3

export interface Toast {
  id: number
  tone: "good" | "bad" | "plain"
  text: string
  /** What takes it back, where the server allows. */
  undo?: () => void | Promise<void>
}

/** Answers to acts: 6 s, held while hovered; errors stay until they are closed; three at most. */
class Toasts {
  items: Toast[] = $state([])
  #last = 0
  readonly #timers = new Map<number, ReturnType<typeof setTimeout>>()

  say(text: string, more: Partial<Pick<Toast, "tone" | "undo">> = {}): number {
    const toast: Toast = { id: ++this.#last, tone: "plain", text, ...more }
    this.items = [...this.items, toast].slice(-MOST)
    if (toast.tone !== "bad") this.release(toast.id)
    return toast.id
  }

  done(text: string, undo?: () => void | Promise<void>): number {
    return this.say(text, { tone: "good", ...(undo ? { undo } : {}) })
  }

  /** What went wrong, in helm's words; "nothing was changed" where that is so. */
  fail(error: unknown, what?: string): number {
    const why = error instanceof ApiError ? failureText(error.failure) : t("errors.page")
    if (!(error instanceof ApiError)) console.error(error)
    return this.say(what ? `${what} ${why}` : why, { tone: "bad" })
  }

  hold(id: number): void {
    clearTimeout(this.#timers.get(id))
    this.#timers.delete(id)
  }

  release(id: number): void {
    this.hold(id)
    if (this.items.find((toast) => toast.id === id)?.tone === "bad") return
    this.#timers.set(id, setTimeout(() => this.close(id), SHOWN))
  }

  /** With whoever they were for. */
  clear(): void {
    for (const { id } of this.items) this.close(id)
  }

  close(id: number): void {
    this.hold(id)
    this.items = this.items.filter((toast) => toast.id !== id)
  }
}

export const toasts = new Toasts()
