import type { Phase } from "./invitation.svelte"

export type StepState = "done" | "now" | "todo" | "failed"
export type StepName = "made" | "waiting" | "keys" | "profile"

const NAMES: readonly StepName[] = ["made", "waiting", "keys", "profile"]
/** How many steps are behind. */
const DONE: Record<Phase, number> = { open: 1, expired: 1, withdrawn: 1, claimed: 3, delivered: 4 }

/** The four steps from the invitation to the profile, as far as they are. */
export function stepsOf(phase: Phase): { name: StepName; state: StepState }[] {
  const done = DONE[phase]
  const over = phase === "expired" || phase === "withdrawn"
  return NAMES.map((name, at) => ({
    name,
    state: at < done ? "done" : at > done ? "todo" : over ? "failed" : "now",
  }))
}

/** Two minutes before its end the ring warns (ui.md §6). */
export const WARNS_AT = 120_000

export interface Countdown {
  left: number
  /** 1 to 0, of the ring. */
  share: number
  warns: boolean
  over: boolean
}

export function countdownOf(endsAt: number, lifetime: number, now: number): Countdown {
  const left = Math.max(0, endsAt - now)
  return { left, share: lifetime > 0 ? Math.min(1, left / lifetime) : 0, warns: left <= WARNS_AT, over: left === 0 }
}
