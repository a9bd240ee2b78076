/** Lines of an onboarding in, steps to be shown out; pure. */
import type { JoinEvent, Onboarding } from "./types"

export const STEPS = ["connect", "look", "upload", "install", "settings", "request", "adopt", "grant", "start", "ports", "status"] as const

export type StepState = "todo" | "now" | "done" | "failed" | "undone" | "planned"

export interface Step {
  id: string
  state: StepState
  says: string
  /** What to do about a failure. */
  way: string
  seconds: number | null
  /** How much of an upload is done, 0 to 1. */
  share: number | null
  /** Whether something was or would be changed. */
  changed: boolean
}

export interface Progress {
  steps: readonly Step[]
  /** What is asked now; null: nothing. */
  asks: { what: string; says: string } | null
  /** Ids of what it became, by `nodes` or `relays`. */
  members: Record<string, string> | null
  over: boolean
}

/** What the lines say, from the first on. */
export function progressOf(events: readonly JoinEvent[]): Progress {
  const steps = new Map<string, Step>(STEPS.map((id) => [id, blank(id)]))
  const of = (id: string | undefined) => steps.get(id ?? "") ?? blank(id ?? "")
  const set = (id: string | undefined, part: Partial<Step>) => void (id && steps.set(id, { ...of(id), ...part }))
  let asks: Progress["asks"] = null
  let members: Progress["members"] = null
  let over = false
  for (const event of events) {
    // Whatever comes after a question says that it was answered.
    asks = null
    switch (event.event) {
      case "begun":
        for (const [id, step] of steps) if (step.state === "now") set(id, { state: "todo" })
        set(event.step, { state: "now", says: event.says ?? "", way: "", seconds: null, share: null })
        break
      case "progress":
        set(event.step, { ...(event.says ? { says: event.says } : {}), share: event.total ? (event.done ?? 0) / event.total : null })
        break
      case "done":
        set(event.step, { state: "done", says: event.says ?? "", seconds: event.seconds ?? null, share: null, changed: event.changed ?? false })
        break
      case "failed":
        set(event.step, { state: "failed", says: event.says ?? "", way: event.way ?? "", seconds: event.seconds ?? null, share: null })
        over = true
        break
      case "undone":
        set(event.step, { state: "undone", says: event.says ?? "", share: null })
        break
      case "planned":
        set(event.step, { state: "planned", says: event.says ?? "", changed: Boolean(event.changes) })
        break
      case "asked":
        asks = { what: event.what ?? "", says: event.says ?? "" }
        break
      case "joined":
        members = event.members ?? {}
        over = true
        break
      case "rehearsed":
        over = true
        break
      case "stopped":
        for (const [id, step] of steps) if (step.state === "now") set(id, { state: "todo" })
        over = true
        break
    }
  }
  return { steps: [...steps.values()], asks, members, over }
}

const blank = (id: string): Step => ({ id, state: "todo", says: "", way: "", seconds: null, share: null, changed: false })

export interface Standing {
  place: string
  latitude: number | null
  longitude: number | null
}

/** Where a machine stands, as a page's address keeps it. */
export function standing({ place, latitude, longitude }: Standing): string {
  const search = new URLSearchParams({
    ...(place ? { place } : {}),
    ...(latitude === null || longitude === null ? {} : { at: `${latitude},${longitude}` }),
  }).toString()
  return search ? `?${search}` : ""
}

export function standingIn(search: URLSearchParams): Partial<Standing> {
  const place = search.get("place")
  const [latitude, longitude] = (search.get("at") ?? "").split(",").map(Number)
  const known = latitude !== undefined && longitude !== undefined && Number.isFinite(latitude) && Number.isFinite(longitude)
  return { ...(place ? { place } : {}), ...(known ? { latitude, longitude } : {}) }
}

/** A line as a terminal would have it. */
export function lineOf(event: JoinEvent): string {
  const says = event.says ?? ""
  switch (event.event) {
    case "begun":
      return `${says} …`
    case "failed":
      return [says, event.way].filter(Boolean).join("\n")
    case "joined":
      return Object.entries(event.members ?? {}).map(([noun, id]) => `${noun} ${id}`).join("\n")
    case "asked":
      return event.what === "host_key" ? `host key ${says}` : says
    case "rehearsed":
      return "nothing was changed"
    case "stopped":
      return event.undone ? "undone" : "stopped"
    default:
      return says
  }
}

export const atWork = (onboarding: Pick<Onboarding, "state">): boolean => ["running", "waiting", "undoing"].includes(onboarding.state)
/** Whether something may lie on the machine that can be taken back. */
export const canUndo = (onboarding: Pick<Onboarding, "state">): boolean => !["joined", "undoing", "undone", "rehearsed"].includes(onboarding.state)
/** Whether the same again goes on from where it ended. */
export const canGoOn = (onboarding: Pick<Onboarding, "state">): boolean => ["failed", "stopped", "undone"].includes(onboarding.state)
