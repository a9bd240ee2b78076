import { api, ApiError, type Failure } from "$lib/api/client"
import { fleet } from "$lib/state/fleet.svelte"
import { atWork, progressOf } from "./facts"
import type { JoinEvent, Onboarding } from "./types"

/** A stream that breaks is followed anew after so long: helm tells it from the first line on. */
const AGAIN = 2_000

/** One onboarding that helm carries out, followed as long as the page is open; the work goes on without it. */
export class Following {
  record: Onboarding | null = $state.raw(null)
  failure: Failure | null = $state.raw(null)
  events: readonly JoinEvent[] = $state.raw([])
  readonly progress = $derived(progressOf(this.events))
  /** When the step that is at work began, by this machine's clock; 0: nobody saw it begin. */
  stepSince = $state(0)

  follow(id: string): () => void {
    const leaving = new AbortController()
    void this.#read(id, leaving.signal)
    void this.#stream(id, leaving.signal)
    const ends = [
      fleet.onDelta("onboarding", (delta) => {
        if (delta.id === id) void this.#read(id, leaving.signal)
      }),
      fleet.onPicture(() => void this.#read(id, leaving.signal)),
    ]
    return () => {
      leaving.abort()
      for (const end of ends) end()
    }
  }

  async #read(id: string, signal: AbortSignal): Promise<void> {
    try {
      this.record = await api.get<Onboarding>(`/onboardings/${id}`, { signal })
      this.failure = null
    } catch (error) {
      if (signal.aborted) return
      if (!(error instanceof ApiError)) throw error
      this.failure = error.failure
    }
  }

  async #stream(id: string, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // What was shown stays until as much has come again.
      const events: JoinEvent[] = []
      const opened = Date.now()
      try {
        for await (const event of api.lines<JoinEvent>(`/onboardings/${id}/events`, { signal })) {
          const last = events.at(-1)
          // Of what goes on, the newest line is enough.
          if (event.event === "progress" && last?.event === "progress" && last.says === event.says) events[events.length - 1] = event
          else events.push(event)
          // Lines of before come at once; only of what begins later is known when.
          if (event.event === "begun") this.stepSince = Date.now() - opened > 500 ? Date.now() : 0
          if (events.length >= this.events.length || event.event === "progress") this.events = [...events]
        }
        this.events = events
        await this.#read(id, signal)
        // It is told anew where it was begun anew: undoing is an onboarding of its own.
        if (!this.record || !atWork(this.record)) await this.#changed(signal)
      } catch (error) {
        if (signal.aborted) return
        if (!(error instanceof ApiError)) throw error
        if (error.status === 404 || error.status === 403) return
      }
      await pause(AGAIN, signal)
    }
  }

  /** Resolves when the record says that it is at work again. */
  #changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = fleet.onDelta("onboarding", (delta) => {
        if (delta.id !== this.record?.id || !atWork(delta.record as unknown as Onboarding)) return
        end()
        // The lines of another work.
        this.events = []
        resolve()
      })
      signal.addEventListener("abort", () => {
        end()
        resolve()
      })
    })
  }
}

const pause = (ms: number, signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms)
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()))
  })
