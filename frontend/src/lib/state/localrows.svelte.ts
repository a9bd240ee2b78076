import { untrack } from "svelte"
import type { Failure } from "$lib/api/client"
import { i18n } from "$lib/i18n/index.svelte"
import { isDescending, sortKey, type Rows } from "./rows"

export type Sortable = string | number | boolean | null | undefined

export interface LocalRowsOptions<R> {
  /** The records as they are now; read reactively. */
  items: () => Iterable<R>
  sort: string
  /** What each sort key reads of a row. */
  sorts: Record<string, (row: R) => Sortable>
  /** Which rows are shown; read reactively. */
  keep?: () => (row: R) => boolean
  loading?: () => boolean
  failure?: () => Failure | null
  again?: () => void
}

/** A short list that is all here: sorted by the reader's act, and not by itself (ui.md §5.2). */
export class LocalRows<R extends { id: string }> implements Rows<R> {
  sort = $state("")
  readonly #options: LocalRowsOptions<R>
  #order: readonly string[] = $state.raw([])
  #ordered = $state(false)
  readonly #all: Map<string, R> = $derived.by(() => new Map([...this.#options.items()].map((row) => [row.id, row])))
  readonly #kept: ReadonlySet<string> = $derived.by(() => {
    const keep = this.#options.keep?.() ?? (() => true)
    return new Set([...this.#all.values()].filter(keep).map((row) => row.id))
  })
  readonly #wanted: readonly string[] = $derived.by(() => this.#sorted())
  /** The order of the last act; what is gone leaves, what came stands behind. */
  readonly ids: readonly string[] = $derived.by(() => {
    if (!this.#ordered) return this.#wanted
    const known = new Set(this.#order)
    return [...this.#order.filter((id) => this.#kept.has(id)), ...this.#wanted.filter((id) => !known.has(id))]
  })
  readonly disordered: boolean = $derived.by(
    () => this.#ordered && this.ids.some((id, at) => id !== this.#wanted[at]),
  )
  readonly waiting = 0

  constructor(options: LocalRowsOptions<R>) {
    this.#options = options
    this.sort = options.sort
  }

  get loading(): boolean {
    return this.#options.loading?.() ?? false
  }

  get failure(): Failure | null {
    return this.#options.failure?.() ?? null
  }

  get(id: string): R | undefined {
    return this.#all.get(id)
  }

  look(): void {
    // Once somebody looks, the order stands.
    untrack(() => {
      if (!this.#ordered && this.#wanted.length) this.#stand()
    })
  }

  sortBy(sort: string): void {
    this.sort = sort
    this.#stand()
  }

  refresh(): void {
    this.#options.again?.()
    this.#stand()
  }

  #stand(): void {
    this.#order = untrack(() => this.#sorted())
    this.#ordered = true
  }

  #sorted(): readonly string[] {
    const read = this.#options.sorts[sortKey(this.sort)] ?? (() => null)
    const sign = isDescending(this.sort) ? -1 : 1
    const collator = new Intl.Collator(i18n.region, { numeric: true, sensitivity: "base" })
    const rows = [...this.#all.values()].filter((row) => this.#kept.has(row.id))
    const keyed = rows.map((row) => [row.id, read(row)] as const)
    return keyed.sort((a, b) => sign * compare(a[1], b[1], collator) || a[0].localeCompare(b[0])).map(([id]) => id)
  }
}

/** Nothing stands behind everything, whichever way. */
function compare(a: Sortable, b: Sortable, collator: Intl.Collator): number {
  if (typeof a === "string" && typeof b === "string") return collator.compare(a, b)
  const rank = (value: Sortable) => (value === null || value === undefined ? -Infinity : Number(value))
  const [x, y] = [rank(a), rank(b)]
  return x < y ? -1 : x > y ? 1 : 0
}
