import type { Key } from "$lib/i18n/index.svelte"

/** One column of a `Table`. */
export interface Column {
  key: string
  label: Key
  /** CSS pixels; what is left over is shared in proportion, and never changes by what stands in the rows. */
  width: number
  /** The sort key, where the list can be sorted by it. */
  sort?: string
  /** The first click sorts downwards: newest, most. */
  downFirst?: boolean
  num?: boolean
  /** The head is for screen readers only. */
  bare?: boolean
  mono?: boolean
  /** Cannot be hidden. */
  fixed?: boolean
  /** Hidden until it is chosen. */
  extra?: boolean
  /** Not among the three that stay on small screens. */
  small?: false
}
