/** What of an onboarding is recorded (`GET /onboardings/{id}`). */
export interface Onboarding {
  id: string
  version: number
  name: string
  destination: string
  address: string
  parts: string[]
  state: "running" | "waiting" | "undoing" | "joined" | "failed" | "stopped" | "undone" | "rehearsed" | (string & {})
  step: string
  text: string
  /** `host_key`, or the question to a password; empty: nothing. */
  asks: string
  host_key: string
  ended_at: string | null
  created_at: string
  updated_at: string
  updated_by: string
}

/** One line of `GET /onboardings/{id}/events`. */
export interface JoinEvent {
  event: "begun" | "progress" | "done" | "failed" | "undone" | "planned" | "asked" | "joined" | "rehearsed" | "stopped" | (string & {})
  step?: string
  says?: string
  /** What to do about it. */
  way?: string
  done?: number
  total?: number
  changed?: boolean
  /** Of one step whether it would change something; of a whole rehearsal, how many would. */
  changes?: boolean | number
  seconds?: number
  what?: string
  members?: Record<string, string>
  undone?: boolean
}
