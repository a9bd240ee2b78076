import { untrack } from "svelte"
import { SvelteMap } from "svelte/reactivity"
import { api, ApiError, type Failure, type Query } from "$lib/api/client"
import type { Delta, FleetEvent, ViewOrder } from "$lib/api/types"
import { fleet } from "./fleet.svelte"
import type { Rows } from "./rows"

const CHUNK = 100
/** Rows are read by hundreds of which most are still true: this many are kept beyond the screen. */
const AHEAD = 40
/** What was told about rows on the screen is gathered for so long before they are read again. */
const SETTLE = 400
/** Rates and counters of rows on the screen are in no record: they are read again this often. */
const RENEW = 5_000
/** By then what an event told is in the rows that helm gives. */
const WRITTEN = 3_000
const MOST_NEWS = 1_000

export interface ServerRowsOptions<R> {
  /** Of the contract's views: devices, users, sessions, profiles. */
  kind: string
  sort: string
  /** Which noun's changes are about these rows; rows whose id is another record's say how it is found. */
  noun: string
  /** What an event changes of a row at once, before it is read again. */
  onEvent?: (row: R, event: FleetEvent) => Partial<R> | null
  /** Sort keys that an event about a row may move. */
  moving?: readonly string[]
}

/** A long list that helm sorts and filters: all ids in order, rows by window (`/api/v1/views`). */
export class ServerRows<R extends { id: string }> implements Rows<R> {
  ids: readonly string[] = $state.raw([])
  facets: ViewOrder["facets"] = $state.raw({})
  sort = $state("")
  filters: Query = $state.raw({})
  disordered = $state(false)
  waiting = $state(0)
  loading = $state(true)
  failure: Failure | null = $state.raw(null)

  readonly #rows = new SvelteMap<string, R>()
  readonly #options: ServerRowsOptions<R>
  #known = new Set<string>()
  #fresh = new Set<string>()
  #stale = new Set<string>()
  readonly #news = new Map<string, { event: FleetEvent; until: number }>()
  #asked = new Set<string>()
  #window: [number, number] = [0, CHUNK - 1]
  #order = new AbortController()
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(options: ServerRowsOptions<R>) {
    this.#options = options
    this.sort = options.sort
  }

  /** Keeps rows true while a page shows them; returns the end of it. */
  follow(): () => void {
    const ends = [
      fleet.onDelta(this.#options.noun, (delta) => this.#told(delta)),
      fleet.onEvent((event) => this.#happened(event)),
      fleet.onPicture(() => this.#allStale()),
    ]
    const renewing = setInterval(() => this.#renew(), RENEW)
    return () => {
      for (const end of ends) end()
      clearInterval(renewing)
      clearTimeout(this.#timer)
      this.#order.abort()
    }
  }

  get(id: string): R | undefined {
    return this.#rows.get(id)
  }

  look(first: number, last: number): void {
    this.#window = [first, last]
    untrack(() => void this.#read(this.#lacking()))
  }

  sortBy(sort: string): void {
    this.sort = sort
    this.refresh()
  }

  /** May be called in an effect: what it reads of this list is not what that is about. */
  filterBy(filters: Query): void {
    this.filters = filters
    untrack(() => this.refresh())
  }

  refresh(): void {
    // An effect that asks for it shall not depend on what is read on the way.
    untrack(() => void this.#readOrder())
  }

  /** Puts a row in place that an act of this page has answered with. */
  put(id: string, part: Partial<R>): void {
    const row = this.#rows.get(id)
    if (row) this.#rows.set(id, { ...row, ...part })
    this.#stale.add(id)
    this.#settle()
  }

  async #readOrder(): Promise<void> {
    this.#order.abort()
    this.#order = new AbortController()
    const { signal } = this.#order
    this.loading = true
    try {
      const found = await api.get<ViewOrder>(`/views/${this.#options.kind}`, {
        query: { sort: this.sort, ...this.filters },
        signal,
      })
      this.ids = found.ids
      this.facets = found.facets
      this.#known = new Set(found.ids)
      this.#fresh.clear()
      this.waiting = 0
      this.disordered = false
      this.failure = null
      await this.#read(this.#lacking())
      this.loading = false
    } catch (error) {
      if (signal.aborted) return
      if (!(error instanceof ApiError)) throw error
      this.failure = error.failure
      this.loading = false
    }
  }

  #visible(): readonly string[] {
    const [first, last] = this.#window
    return this.ids.slice(Math.max(0, first - AHEAD), last + 1 + AHEAD)
  }

  #lacking(): string[] {
    return this.#visible().filter((id) => !this.#rows.has(id) && !this.#asked.has(id))
  }

  async #read(ids: readonly string[]): Promise<void> {
    const asked: Promise<void>[] = []
    for (let at = 0; at < ids.length; at += CHUNK) asked.push(this.#readSome(ids.slice(at, at + CHUNK)))
    await Promise.all(asked)
  }

  async #readSome(ids: readonly string[]): Promise<void> {
    for (const id of ids) this.#asked.add(id)
    try {
      const { items } = await api.get<{ items: R[] }>(`/views/${this.#options.kind}/rows`, { query: { ids } })
      for (const row of items) this.#rows.set(row.id, this.#withNews(row))
      for (const id of ids) this.#stale.delete(id)
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      // The socket tells that helm is away; rows are read again with the next picture.
    } finally {
      for (const id of ids) this.#asked.delete(id)
    }
  }

  #told(delta: Delta): void {
    if (this.#known.has(delta.id)) {
      if (this.#rows.has(delta.id)) {
        this.#stale.add(delta.id)
        this.#settle()
      }
      // Any field may be the one that the list is sorted by.
      this.disordered = true
    } else if (delta.record !== null && !this.#fresh.has(delta.id)) {
      this.#fresh.add(delta.id)
      this.waiting = this.#fresh.size
    }
  }

  #happened(event: FleetEvent): void {
    const id = event.device
    if (id === null || !this.#options.onEvent) return
    // Also of a row that has not been read yet: what is read in a moment may not know of it.
    if (this.#news.size > MOST_NEWS) this.#news.clear()
    this.#news.set(id, { event, until: Date.now() + WRITTEN })
    const row = this.#rows.get(id)
    const part = row && this.#options.onEvent(row, event)
    if (!part) return
    this.#rows.set(id, { ...row, ...part })
    if (this.#options.moving?.includes(this.sort.replace(/^-/, ""))) this.disordered = true
  }

  /** helm tells an event before it has written it: a row that was read meanwhile does not know of it yet. */
  #withNews(row: R): R {
    const news = this.#news.get(row.id)
    if (!news) return row
    if (Date.now() < news.until) return { ...row, ...this.#options.onEvent?.(row, news.event) }
    this.#news.delete(row.id)
    return row
  }

  #allStale(): void {
    for (const id of this.#rows.keys()) this.#stale.add(id)
    this.#settle()
  }

  #renew(): void {
    if (document.hidden) return
    for (const id of this.#visible()) this.#stale.add(id)
    this.#settle()
  }

  #settle(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      const visible = new Set(this.#visible())
      const ids = [...this.#stale].filter((id) => visible.has(id) && !this.#asked.has(id))
      // What is off the screen is read when it comes onto it.
      for (const id of this.#stale) if (!visible.has(id)) this.#rows.delete(id)
      this.#stale.clear()
      void this.#read(ids)
    }, SETTLE)
  }
}
