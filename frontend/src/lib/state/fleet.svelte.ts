import { SvelteMap } from "svelte/reactivity"
import { ApiError, getStatus, type Failure } from "$lib/api/client"
import type { Status } from "$lib/api/types"

/** How often the picture is fetched while all is well. */
export const POLL = 2_000
/** A lost helm is asked after 2, 4, 8, then every 10 s: it is on this machine, a question is cheap. */
const LONGEST_RETRY = 10_000
/** How long a row stays marked as just changed: the longest of the wash and of its still form. */
export const CHANGED = 3_000

/** The last picture of the fleet, and how much of it is known to be true. */
export class FleetState {
  status: Status | null = $state.raw(null)
  /** When `status` arrived, by this machine's clock. */
  receivedAt = $state(0)
  /** What the last attempt failed with; null while helm answers. */
  failure: Failure | null = $state.raw(null)
  /** When the next attempt is due; meaningful while `failure` is set. */
  retryAt = $state(0)

  readonly #load: (signal: AbortSignal) => Promise<Status>
  readonly #changed = new SvelteMap<string | number, number>()
  #failures = 0
  #sequence: number | null = null
  #wake: () => void = () => {}

  constructor(load: (signal: AbortSignal) => Promise<Status> = getStatus) {
    this.#load = load
  }

  /** The moment that the picture is about: ages stand still when it cannot be renewed. */
  asOf(now: number): number {
    return this.failure ? this.receivedAt : now
  }

  /** Whether an event with this sequence, or about this device or node, has just come in. */
  changed(key: string | number): boolean {
    return this.#changed.has(key)
  }

  /** Keeps the picture current until `signal` aborts; what happened before it began is not marked as new. */
  async run(signal: AbortSignal): Promise<void> {
    this.#sequence = null
    while (!signal.aborted) {
      await this.#poll(signal)
      if (!signal.aborted) await this.#pause(this.#delay(), signal)
    }
  }

  /** Asks at once instead of at the next turn. */
  tryNow(): void {
    this.#wake()
  }

  async #poll(signal: AbortSignal): Promise<void> {
    try {
      this.#accept(await this.#load(signal))
    } catch (error) {
      if (signal.aborted) return
      if (!(error instanceof ApiError)) throw error
      this.#failures += 1
      this.failure = error.failure
      this.retryAt = Date.now() + this.#delay()
    }
  }

  #accept(status: Status): void {
    this.#mark(status)
    this.#failures = 0
    this.failure = null
    this.receivedAt = Date.now()
    this.status = status
  }

  #delay(): number {
    return this.#failures ? Math.min(POLL * 2 ** (this.#failures - 1), LONGEST_RETRY) : POLL
  }

  /** Marks what the new events are about; nothing on the first picture, nor after an absence. */
  #mark(status: Status): void {
    const last = status.events.reduce((most, event) => Math.max(most, event.sequence), 0)
    const known = this.#sequence
    this.#sequence = last
    if (known === null || this.#failures) return
    for (const event of status.events) {
      if (event.sequence <= known) continue
      this.#wash(event.sequence)
      const subject = event.device ?? event.node
      if (subject !== null) this.#wash(subject)
    }
  }

  #wash(key: string | number): void {
    const until = Date.now() + CHANGED
    this.#changed.set(key, until)
    setTimeout(() => {
      if (this.#changed.get(key) === until) this.#changed.delete(key)
    }, CHANGED)
  }

  #pause(delay: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer)
        signal.removeEventListener("abort", done)
        resolve()
      }
      const timer = setTimeout(done, delay)
      signal.addEventListener("abort", done)
      this.#wake = done
    })
  }
}

export const fleet = new FleetState()
