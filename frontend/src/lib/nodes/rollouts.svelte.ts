import { api, ApiError, type Failure } from "$lib/api/client"
import { gather } from "./rollout"
import type { UpgradeEvent, UpgradeRun } from "./types"

/** Upgrades are in no feed: they are asked about as long as one runs, and now and then else. */
const RUNNING = 1_000
const IDLE = 15_000

/** The upgrades since helm started, and the one that is looked at with all that it told. */
export class Rollouts {
  all: readonly UpgradeRun[] = $state.raw([])
  failure: Failure | null = $state.raw(null)
  known = $state(false)
  events: readonly UpgradeEvent[] = $state.raw([])
  chosen = $state("")
  readonly run = $derived(this.all.find((one) => one.id === this.chosen) ?? null)
  readonly running = $derived(this.all.find((one) => one.state === "running") ?? null)
  #timer: ReturnType<typeof setTimeout> | undefined
  #ended = false

  follow(): () => void {
    this.#ended = false
    void this.#turn()
    return () => {
      this.#ended = true
      clearTimeout(this.#timer)
    }
  }

  /** Looks at one; "" at none. */
  choose(id: string): void {
    if (id === this.chosen) return
    this.chosen = id
    this.events = []
    if (id) void this.#follow(id)
  }

  async read(): Promise<void> {
    try {
      this.all = (await api.get<{ items: UpgradeRun[] }>("/upgrades")).items
      this.failure = null
      if (this.chosen) await this.#follow(this.chosen)
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      this.failure = error.failure
    } finally {
      this.known = true
    }
  }

  /** One was begun here: it is looked at from now on, and not only when the next quiet look is due. */
  begun(run: UpgradeRun): void {
    this.all = [run, ...this.all]
    this.#wait()
  }

  async #turn(): Promise<void> {
    if (!document.hidden) await this.read()
    this.#wait()
  }

  #wait(): void {
    clearTimeout(this.#timer)
    if (!this.#ended) this.#timer = setTimeout(() => void this.#turn(), this.running ? RUNNING : IDLE)
  }

  async #follow(id: string): Promise<void> {
    // The newest may have been told again: one that stands alone is replaced by its newer word.
    const after = Math.max(0, (this.events.at(-1)?.number ?? 0) - 1)
    try {
      const run = await api.get<UpgradeRun>(`/upgrades/${id}`, { query: { after } })
      if (id !== this.chosen) return
      this.events = gather(this.events, run.events)
      this.all = this.all.map((one) => (one.id === id ? run : one))
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
    }
  }
}
