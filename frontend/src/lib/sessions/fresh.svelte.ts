import { api, ApiError } from "$lib/api/client"
import type { SessionRow, ViewOrder } from "$lib/api/types"
import { fleet } from "$lib/state/fleet.svelte"
import type { ServerRows } from "$lib/state/serverrows.svelte"

/** Sessions are in no record, so no change tells of a new one: events say when to count those that wait. */
const SETTLE = 2_000

export function followFresh(rows: ServerRows<SessionRow>): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined
  let leaving = new AbortController()

  async function look(): Promise<void> {
    leaving.abort()
    leaving = new AbortController()
    const { signal } = leaving
    try {
      const { ids } = await api.get<ViewOrder>("/views/sessions", { query: { sort: rows.sort, ...rows.filters }, signal })
      const known = new Set(rows.ids)
      const fresh = ids.filter((id) => !known.has(id)).length
      if (!rows.loading) rows.waiting = fresh
    } catch (error) {
      if (!signal.aborted && !(error instanceof ApiError)) throw error
    }
  }

  const soon = () => {
    timer ??= setTimeout(() => {
      timer = undefined
      void look()
    }, SETTLE)
  }
  const ends = [fleet.onEvent((event) => event.kind === "connected" && soon()), fleet.onPicture(soon)]
  return () => {
    for (const end of ends) end()
    clearTimeout(timer)
    leaving.abort()
  }
}
