import { api, ApiError, type Failure } from "$lib/api/client"
import type { Delta, Page } from "$lib/api/types"
import { fleet } from "$lib/state/fleet.svelte"
import type { GroupRecord } from "./records"

const PAGE = 500
/** Lists do not say who is in a group: so many are asked for one by one. */
const COUNTED = 60

/** All groups, with their members where there are not too many of them; kept true by the live feed. */
export class Groups {
  items: readonly GroupRecord[] = $state.raw([])
  loading = $state(true)
  failure: Failure | null = $state.raw(null)

  follow(): () => void {
    void this.read()
    const ends = [fleet.onDelta("group", (delta) => void this.#told(delta)), fleet.onPicture(() => void this.read())]
    return () => {
      for (const end of ends) end()
    }
  }

  async read(): Promise<void> {
    try {
      const found: GroupRecord[] = []
      let cursor: string | null = null
      do {
        const page: Page<GroupRecord> = await api.get<Page<GroupRecord>>("/groups", { query: { sort: "name", limit: PAGE, cursor } })
        found.push(...page.items)
        cursor = page.cursor
      } while (cursor)
      const known = new Map(this.items.map((group) => [group.id, group.members]))
      this.items = found.map((group) => ({ ...group, ...members(known.get(group.id)) }))
      this.failure = null
      this.loading = false
      for (const group of found.slice(0, COUNTED)) await this.#readOne(group.id)
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      this.failure = error.failure
      this.loading = false
    }
  }

  async #readOne(id: string): Promise<void> {
    const whole = await api.get<GroupRecord>(`/groups/${encodeURIComponent(id)}`)
    this.items = this.items.map((group) => (group.id === id ? whole : group))
  }

  async #told({ id, record }: Delta): Promise<void> {
    if (record === null) {
      this.items = this.items.filter((group) => group.id !== id)
      return
    }
    const old = this.items.find((group) => group.id === id)
    const now = { ...record, ...members(old?.members) } as unknown as GroupRecord
    this.items = old ? this.items.map((group) => (group.id === id ? now : group)) : [...this.items, now]
    try {
      await this.#readOne(id)
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
    }
  }
}

const members = (ids: string[] | undefined) => (ids ? { members: ids } : {})
