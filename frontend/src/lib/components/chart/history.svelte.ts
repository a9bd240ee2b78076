import { api, ApiError, type Failure, type Query } from "$lib/api/client"
import type { Chart } from "$lib/api/types"
import { DAY } from "$lib/format"
import { fleet } from "$lib/state/fleet.svelte"
import { live } from "$lib/state/live.svelte"
import { endOf, isFullAgain, SAMPLE, settled, withRunning, type Past } from "./points"

const MINUTE = 60_000

export type Range = "15m" | "1h" | "24h" | "7d" | "90d"
export const RANGES: Record<Range, number> = {
  "15m": 15 * MINUTE,
  "1h": 60 * MINUTE,
  "24h": DAY,
  "7d": 7 * DAY,
  "90d": 90 * DAY,
}
/** helm has nothing finer to show. */
export const CLOSEST = 4 * SAMPLE

/** Which charts are asked for, and what is made of them. */
export interface Asked {
  charts: readonly { metric: string; query?: Query }[]
  make: (charts: readonly Chart[]) => Past
}

export interface Span {
  since: number
  until: number
}

/** What helm knows of a time, kept true at its right edge: read whole when a slot is full, and every sample for the running one. */
export class History {
  past: Past | null = $state.raw(null)
  failure: Failure | null = $state.raw(null)
  loading = $state(true)
  range: Range = $state("1h")
  /** The range that `past` is of; another one while that could not be read yet. */
  shown: Range = $state("1h")
  /** Chosen by hand; null: the range, up to now. */
  span: Span | null = $state.raw(null)

  readonly #asked: () => Asked
  #whole: Past | null = null
  #wanted = ""
  #reading = new AbortController()
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(asked: () => Asked, range: Range) {
    this.#asked = asked
    this.range = range
    this.shown = range
  }

  /** Reads what is wanted now and goes on reading; called in an effect, which runs again when something else is wanted. */
  follow(): () => void {
    const { range, span } = this
    const asked = this.#asked()
    const wanted = JSON.stringify([range, span, asked.charts])
    if (wanted !== this.#wanted) this.loading = true
    this.#wanted = wanted
    const read = () => void this.#read(asked, span, range)
    const told = fleet.onPicture(read)
    read()
    return () => {
      told()
      clearTimeout(this.#timer)
      this.#reading.abort()
    }
  }

  again(): void {
    this.loading = true
    void this.#read(this.#asked(), this.span, this.range)
  }

  async #read(asked: Asked, span: Span | null, range: Range): Promise<void> {
    clearTimeout(this.#timer)
    this.#reading.abort()
    this.#reading = new AbortController()
    const { signal } = this.#reading
    try {
      const now = Date.now()
      const whole = await this.#ask(asked, span ?? { since: now - RANGES[range], until: now }, signal)
      this.#whole = settled(whole, now)
      this.past = this.#whole
      this.shown = range
      this.failure = null
      if (!span) await this.#readRunning(asked, signal)
    } catch (error) {
      if (signal.aborted) return
      if (!(error instanceof ApiError)) throw error
      this.failure = error.failure
    }
    this.loading = false
    if (!span && !signal.aborted) this.#timer = setTimeout(() => void this.#renew(asked, range, signal), SAMPLE)
  }

  /** One sample later: the running slot, or everything once that is full. */
  async #renew(asked: Asked, range: Range, signal: AbortSignal): Promise<void> {
    const whole = this.#whole
    if (document.hidden || live.offline) {
      this.#timer = setTimeout(() => void this.#renew(asked, range, signal), SAMPLE)
      return
    }
    if (!whole || this.failure || isFullAgain(whole, Date.now())) return this.#read(asked, null, range)
    try {
      await this.#readRunning(asked, signal)
    } catch (error) {
      if (signal.aborted) return
      if (!(error instanceof ApiError)) throw error
      this.failure = error.failure
    }
    this.#timer = setTimeout(() => void this.#renew(asked, range, signal), SAMPLE)
  }

  async #readRunning(asked: Asked, signal: AbortSignal): Promise<void> {
    const whole = this.#whole
    if (!whole || whole.step <= SAMPLE) return
    const now = Date.now()
    const since = Math.max(endOf(whole), now - RANGES["1h"])
    if (now - since < 2 * SAMPLE) return
    const recent = settled(await this.#ask(asked, { since, until: now }, signal), now)
    this.past = withRunning(whole, recent)
  }

  async #ask(asked: Asked, { since, until }: Span, signal: AbortSignal): Promise<Past> {
    const window = { since: new Date(since).toISOString(), until: new Date(until).toISOString() }
    const charts = asked.charts.map(({ metric, query }) =>
      api.get<Chart>(`/charts/${metric}`, { query: { ...query, ...window }, signal }),
    )
    return asked.make(await Promise.all(charts))
  }
}
