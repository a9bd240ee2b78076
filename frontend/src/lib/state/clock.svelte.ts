import { createSubscriber } from "svelte/reactivity"

const TICK = 1_000

/** One clock for every age on the page; it runs only while something shows one. */
class Clock {
  readonly #subscribe = createSubscriber((update) => {
    const timer = setInterval(update, TICK)
    return () => clearInterval(timer)
  })

  /** Milliseconds since the epoch; what reads it is repainted once a second. */
  get now(): number {
    this.#subscribe()
    return Date.now()
  }
}

export const clock = new Clock()
