import { api, ApiError } from "$lib/api/client"
import type { Relay } from "$lib/api/types"
import { fleet } from "$lib/state/fleet.svelte"
import { live } from "$lib/state/live.svelte"

/** What comes through relays is in no message of the feed: one of them is asked about at a time. */
const EVERY = 2_000

/** Keeps the numbers of these relays true while a page shows them; returns the end of it. */
export function followRelays(ids: () => readonly string[]): () => void {
  let at = 0
  const leaving = new AbortController()
  const timer = setInterval(async () => {
    const all = ids()
    const id = all[at++ % Math.max(1, all.length)]
    if (document.hidden || live.offline || id === undefined) return
    try {
      const read = await api.get<Relay>(`/relays/${id}`, { signal: leaving.signal })
      const known = fleet.relays.get(id)
      if (known && known.version <= read.version) fleet.relays.set(id, { ...known, ...read, last_word_at: known.last_word_at })
    } catch (error) {
      // The socket tells that helm is away.
      if (!leaving.signal.aborted && !(error instanceof ApiError)) throw error
    }
  }, EVERY)
  return () => {
    clearInterval(timer)
    leaving.abort()
  }
}
