import { ApiError, type Failure } from "$lib/api/client"
import { fleet } from "./fleet.svelte"

/** Several changes at once are read once. */
const SOON = 150

/** What a page reads whole: kept while it is read again, and read again when helm tells of a change. */
export class Fetched<T> {
  value: T | null = $state.raw(null)
  failure: Failure | null = $state.raw(null)
  readonly #read: (signal: AbortSignal) => Promise<T>
  #leaving: AbortController | null = null
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(read: (signal: AbortSignal) => Promise<T>) {
    this.#read = read
  }

  get loading(): boolean {
    return this.value === null && this.failure === null
  }

  async load(): Promise<void> {
    this.#leaving?.abort()
    const leaving = (this.#leaving = new AbortController())
    try {
      this.value = await this.#read(leaving.signal)
      this.failure = null
    } catch (error) {
      if (leaving.signal.aborted) return
      if (!(error instanceof ApiError)) throw error
      // What was read before is still the best there is; the banner says that helm is away.
      if (this.value === null || error.status) this.failure = error.failure
    }
  }

  soon(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.load(), SOON)
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#leaving?.abort()
  }
}

/** Called while a component is set up. Reads now, and again on changes of records of `nouns` and with each new picture. */
export function fetched<T>(read: (signal: AbortSignal) => Promise<T>, nouns: readonly string[] = []): Fetched<T> {
  const found = new Fetched(read)
  $effect(() => {
    void found.load()
    const ends = [...nouns.map((noun) => fleet.onDelta(noun, () => found.soon())), fleet.onPicture(() => found.soon())]
    return () => {
      for (const end of ends) end()
      found.stop()
    }
  })
  return found
}
