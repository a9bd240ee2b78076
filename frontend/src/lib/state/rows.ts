import type { Failure } from "$lib/api/client"

/** What a table shows, whoever orders it: helm (`ServerRows`) or this page (`LocalRows`). */
export interface Rows<R extends { id: string }> {
  /** All ids in the order of the last act of the reader. */
  readonly ids: readonly string[]
  /** A row, if it has been read. */
  get(id: string): R | undefined
  /** Says which rows are on the screen, so that they are read and kept true. */
  look(first: number, last: number): void
  /** `name` or `-name`. */
  readonly sort: string
  sortBy(sort: string): void
  /** The sort key of some row has changed since: the reader may sort again. */
  readonly disordered: boolean
  /** Rows that came since and wait above the table. */
  readonly waiting: number
  /** Reads the order anew; an act of the reader. */
  refresh(): void
  /** Whether more follow that nobody has counted yet. */
  readonly more?: boolean
  readonly loading: boolean
  readonly failure: Failure | null
}

export const isDescending = (sort: string): boolean => sort.startsWith("-")
export const sortKey = (sort: string): string => sort.replace(/^-/, "")
