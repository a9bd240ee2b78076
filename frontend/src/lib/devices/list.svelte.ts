import { untrack } from "svelte"
import type { Query } from "$lib/api/client"
import { filterQuery, parameter, parseFilter, setParameters } from "$lib/state/address.svelte"
import type { ServerRows } from "$lib/state/serverrows.svelte"

/** Keeps a list true while its page is open, filtered and sorted as the address says; called while a page is set up. */
export function followAddress<R extends { id: string }>(
  rows: ServerRows<R>,
  names: readonly string[],
  more: () => Query = () => ({}),
): void {
  const usual = rows.sort
  const typed = $derived(parameter("filter"))
  const sorted = parameter("sort")
  if (sorted) rows.sort = sorted
  $effect(() => rows.follow())
  $effect(() => {
    const query = { ...filterQuery(parseFilter(typed, names)), ...more() }
    untrack(() => rows.filterBy(query))
  })
  $effect(() => {
    const sort = rows.sort === usual ? "" : rows.sort
    untrack(() => {
      if (parameter("sort") !== sort) void setParameters({ sort })
    })
  })
}

/** Options of a chip, by what helm counted; in the order of `words`, then whatever a newer helm has. */
export function facetOptions(
  facet: Record<string, number> | undefined,
  words: readonly string[],
  label: (word: string) => string,
): { value: string; label: string; count: number }[] {
  const counts = facet ?? {}
  const all = [...words.filter((word) => counts[word]), ...Object.keys(counts).filter((word) => !words.includes(word))]
  return all.map((word) => ({ value: word, label: label(word), count: counts[word] ?? 0 }))
}
