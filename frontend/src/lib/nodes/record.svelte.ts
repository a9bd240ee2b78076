import { api, ApiError, type Failure } from "$lib/api/client"
import { fleet } from "$lib/state/fleet.svelte"

/** One whole record of helm, read again whenever it has changed. */
export class WholeRecord<R extends { id: string; version: number }> {
  record: R | null = $state.raw(null)
  failure: Failure | null = $state.raw(null)
  readonly #path: string
  readonly #noun: string
  #asked = new AbortController()

  /** `path` is that of the noun: `/nodes`. */
  constructor(path: string, noun: string) {
    this.#path = path
    this.#noun = noun
  }

  /** Follows the record of this id; returns the end of it. */
  follow(id: string): () => void {
    if (this.record?.id !== id) this.record = null
    void this.read(id)
    const ends = [
      fleet.onDelta(this.#noun, (delta) => {
        if (delta.id === id && delta.record !== null) void this.read(id)
      }),
      fleet.onPicture(() => void this.read(id)),
    ]
    return () => {
      for (const end of ends) end()
      this.#asked.abort()
    }
  }

  async read(id: string): Promise<void> {
    this.#asked.abort()
    this.#asked = new AbortController()
    const { signal } = this.#asked
    try {
      const read = await api.get<R>(`${this.#path}/${id}`, { signal })
      if (signal.aborted) return
      this.record = read
      this.failure = null
    } catch (error) {
      if (signal.aborted) return
      if (!(error instanceof ApiError)) throw error
      this.failure = error.failure
    }
  }
}
