import { api, ApiError, type Failure } from "$lib/api/client"
import { saveWithMerge } from "$lib/components/merge/merge.svelte"
import { t, type Key } from "$lib/i18n/index.svelte"
import { fleet } from "$lib/state/fleet.svelte"
import { lines, words } from "./fields"
import { compareLines, type Line } from "./rules"
import type { PolicySettings, PolicyShown } from "./types"

interface Setting {
  id: string
  value: boolean | string[]
  version: number
  updated_at?: string
  updated_by?: string
}

export const POLICY_NAMES = ["internet", "peer_to_peer", "closed", "resolvers"] as const
export type PolicyName = (typeof POLICY_NAMES)[number]

/** As it is typed: a network or an address in a line. */
interface Draft {
  internet: boolean
  peer_to_peer: boolean
  closed: string
  resolvers: string
}

const typed = (settings: PolicySettings): Draft => ({
  ...settings,
  closed: settings.closed.join("\n"),
  resolvers: settings.resolvers.join("\n"),
})
const meant = (draft: Draft): PolicySettings => ({ ...draft, closed: lines(draft.closed), resolvers: words(draft.resolvers) })
const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b)

/** The fleet's network policy as one node carries it out, and what a change of it would do there. */
export class PolicyForm {
  stored: PolicyShown | null = $state.raw(null)
  draft: Draft = $state({ internet: true, peer_to_peer: false, closed: "", resolvers: "" })
  proposed: PolicyShown | null = $state.raw(null)
  failure: Failure | null = $state.raw(null)
  /** Why what is typed cannot be so; helm's own words. */
  wrong: string | null = $state(null)
  saving = $state(false)
  #asked = new AbortController()
  #settings = new Map<PolicyName, Setting>()

  readonly changes: Partial<PolicySettings> = $derived.by(() => {
    if (!this.stored) return {}
    const now = meant(this.draft)
    return Object.fromEntries(POLICY_NAMES.filter((name) => !same(now[name], this.stored!.settings[name])).map((name) => [name, now[name]]))
  })
  readonly changed: number = $derived(Object.keys(this.changes).length)
  readonly lines: readonly Line[] = $derived.by(() =>
    this.stored ? compareLines(this.stored.rules, (this.changed ? this.proposed : null)?.rules ?? this.stored.rules) : [],
  )

  /** Reads what is in force at a node; follows changes by others as long as nothing is typed. */
  follow(node: string): () => void {
    void this.read(node)
    const again = () => {
      if (!this.changed && !this.saving) void this.read(node)
    }
    const ends = [fleet.onDelta("setting", (delta) => void (delta.id.startsWith("policy.") && again())), fleet.onPicture(again)]
    return () => {
      for (const end of ends) end()
      this.#asked.abort()
    }
  }

  async read(node: string): Promise<void> {
    try {
      const [shown, { items }] = await Promise.all([api.get<PolicyShown>(`/nodes/${node}/policy`), api.get<{ items: Setting[] }>("/settings")])
      for (const name of POLICY_NAMES) {
        const found = items.find((item) => item.id === `policy.${name}`)
        if (found) this.#settings.set(name, found)
      }
      this.stored = shown
      this.draft = typed(shown.settings)
      this.proposed = null
      this.failure = null
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      this.failure = error.failure
    }
  }

  /** Asks what the node's rules would be by what is typed; nothing changes. */
  async preview(node: string): Promise<void> {
    this.#asked.abort()
    this.#asked = new AbortController()
    const { signal } = this.#asked
    if (!this.changed) {
      this.wrong = null
      this.proposed = null
      return
    }
    try {
      const proposed = await api.post<PolicyShown>(`/nodes/${node}/policy/preview`, this.changes, { signal })
      if (signal.aborted) return
      this.proposed = proposed
      this.wrong = null
    } catch (error) {
      if (signal.aborted) return
      if (!(error instanceof ApiError)) throw error
      this.wrong = error.message
      this.proposed = null
    }
  }

  undo(): void {
    if (this.stored) this.draft = typed(this.stored.settings)
  }

  /** Sets what is changed for the whole fleet, one setting after the other; tells whether all of it holds. */
  async save(node: string): Promise<boolean> {
    this.saving = true
    try {
      for (const [name, value] of Object.entries(this.changes) as [PolicyName, boolean | string[]][]) {
        const setting = this.#settings.get(name)
        if (!setting) continue
        const path = `/settings/policy.${name}`
        const held = await saveWithMerge<Setting>({
          path,
          record: setting,
          changes: { value },
          fields: [{ key: "value", label: t(`nodes.policy.${name}` as Key) }],
          title: t(`nodes.policy.${name}` as Key),
          send: (changes, version) => api.put<Setting>(path, changes, { version }),
        })
        if (!held) return false
        this.#settings.set(name, held)
      }
      await this.read(node)
      return true
    } finally {
      this.saving = false
    }
  }
}
