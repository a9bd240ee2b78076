import { untrack } from "svelte"
import { api, ApiError, type Failure, type Query } from "$lib/api/client"
import type { Rows } from "./rows"

const PAGE = 100
/** So many rows before the end the next page is asked for. */
const AHEAD = 40

/** What a page of a list brings: its rows as the table shows them, and where the next begins. */
export interface Chunk<R> {
  items: readonly R[]
  cursor: string | null
}

/** A list that only grows at one end, newest first, read as far as somebody scrolls. */
export class CursorRows<R extends { id: string }> implements Rows<R> {
  ids: readonly string[] = $state.raw([])
  filters: Query = $state.raw({})
  waiting = $state(0)
  loading = $state(true)
  failure: Failure | null = $state.raw(null)
  /** Whether there is more behind the last row. */
  more = $state(false)
  readonly sort: string
  readonly disordered = false

  readonly #read: (query: Query, signal: AbortSignal) => Promise<Chunk<R>>
  #rows = new Map<string, R>()
  #cursor: string | null = null
  #reading = new AbortController()
  #busy = false

  constructor(sort: string, read: (query: Query, signal: AbortSignal) => Promise<Chunk<R>>) {
    this.sort = sort
    this.#read = read
  }

  get(id: string): R | undefined {
    return this.#rows.get(id)
  }

  look(_first: number, last: number): void {
    untrack(() => {
      if (this.more && !this.#busy && last >= this.ids.length - AHEAD) void this.#next()
    })
  }

  sortBy(): void {
    this.refresh()
  }

  /** May be called in an effect: what it reads of this list is not what that is about. */
  filterBy(filters: Query): void {
    this.filters = filters
    untrack(() => this.refresh())
  }

  /** Says that newer rows are there; they wait for the reader. */
  came(n = 1): void {
    this.waiting = untrack(() => this.waiting) + n
  }

  refresh(): void {
    this.#reading.abort()
    this.#reading = new AbortController()
    this.#busy = false
    this.#cursor = null
    this.loading = true
    // An effect that asks for it shall not depend on what is read on the way.
    untrack(() => void this.#next(true))
  }

  async #next(first = false): Promise<void> {
    const { signal } = this.#reading
    this.#busy = true
    try {
      const chunk = await this.#read({ ...this.filters, limit: PAGE, cursor: this.#cursor }, signal)
      if (first) {
        this.#rows = new Map()
        this.waiting = 0
      }
      for (const row of chunk.items) this.#rows.set(row.id, row)
      this.ids = [...this.#rows.keys()]
      this.#cursor = chunk.cursor
      this.more = chunk.cursor !== null
      this.failure = null
      this.loading = false
      this.#busy = false
      // A search looks at so many rows at a time, and may find none in them.
      if (this.more && chunk.items.length === 0) await this.#next()
    } catch (error) {
      if (signal.aborted) return
      if (!(error instanceof ApiError)) throw error
      this.failure = error.failure
      this.loading = false
      this.#busy = false
    }
  }

  /** For lists of `items` and `cursor` as REST gives them. */
  static of<R extends { id: string }>(path: string, sort: string): CursorRows<R> {
    return new CursorRows<R>(sort, (query, signal) => api.get<Chunk<R>>(path, { query, signal }))
  }
}
