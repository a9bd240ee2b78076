import { goto } from "$app/navigation"
import { page } from "$app/state"
import type { Query } from "$lib/api/client"

/** What of a list's state lives in the address: filters, sort, and what is open beside it. */
export function parameter(name: string): string {
  return page.url.searchParams.get(name) ?? ""
}

/** Sets parameters; empty ones leave the address. `push` where Back should bring the state before. */
export async function setParameters(changes: Record<string, string | null | undefined>, push = false): Promise<void> {
  const url = new URL(page.url)
  for (const [name, value] of Object.entries(changes)) {
    if (value) url.searchParams.set(name, value)
    else url.searchParams.delete(name)
  }
  await goto(url, { replaceState: !push, keepFocus: true, noScroll: true })
}

export interface Filter {
  /** Words without a name. */
  q: string
  /** `status:stale` and the like, by name. */
  named: Record<string, string>
}

/** Reads `status:stale user:"Ada L" mbp`; a name that is not in `names` is a word like any other. */
export function parseFilter(text: string, names: readonly string[]): Filter {
  const named: Record<string, string> = {}
  const words: string[] = []
  for (const [whole, name, quoted, plain] of text.matchAll(/([a-z_]+):(?:"([^"]*)"|(\S+))|"[^"]*"|\S+/gi)) {
    const key = name?.toLowerCase()
    if (key && names.includes(key)) named[key] = quoted ?? plain ?? ""
    else words.push(whole.replace(/^"|"$/g, ""))
  }
  return { q: words.join(" "), named }
}

export function formatFilter({ q, named }: Filter): string {
  const parts = Object.entries(named).map(([name, value]) => `${name}:${/[\s"]/.test(value) ? `"${value.replaceAll('"', "")}"` : value}`)
  return [...parts, q].filter(Boolean).join(" ")
}

export const filterQuery = ({ q, named }: Filter): Query => ({ ...named, ...(q ? { q } : {}) })
