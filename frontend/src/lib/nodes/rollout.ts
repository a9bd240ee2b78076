/** What an upgrade tells in, how each member is out; pure. */
import type { Shape } from "$lib/components/ui/StatusShape.svelte"
import type { UpgradeEvent, UpgradeRun } from "./types"

export const UPGRADE_STEPS = ["connect", "look", "keep", "upload", "install", "gate"] as const

export interface MemberProgress {
  name: string
  /** Waits, is at work in a step, or has ended by an outcome. */
  state: "waiting" | "running" | "ended"
  step: string
  says: string
  share: number | null
  outcome: string
  seconds: number | null
}

/** Every member of an upgrade as its events leave it, in the order of their turn. */
export function membersOf(run: Pick<UpgradeRun, "members">, events: readonly UpgradeEvent[]): MemberProgress[] {
  const members = new Map<string, MemberProgress>(
    run.members.map((name) => [name, { name, state: "waiting", step: "", says: "", share: null, outcome: "", seconds: null }]),
  )
  for (const event of events) {
    if (event.event === "ended") {
      for (const [name, outcome] of Object.entries(event.outcomes ?? {})) {
        const member = members.get(name)
        if (member && member.state !== "ended") members.set(name, { ...member, state: "ended", outcome })
      }
      continue
    }
    const member = members.get(event.member ?? "")
    if (!member) continue
    const told: Partial<MemberProgress> =
      event.event === "member_ended"
        ? { state: "ended", outcome: event.outcome ?? "", says: event.says ?? "", seconds: event.seconds ?? null, share: null }
        : {
            state: "running",
            step: event.step ?? member.step,
            says: event.says || member.says,
            share: event.event === "progress" && event.total ? (event.done ?? 0) / event.total : null,
          }
    members.set(member.name, { ...member, ...told })
  }
  return [...members.values()]
}

/** Keeps what was told before; of progress the newest is enough. */
export function gather(known: readonly UpgradeEvent[], more: readonly UpgradeEvent[]): UpgradeEvent[] {
  const first = more[0]?.number ?? Infinity
  return [...known.filter((event) => event.number < first), ...more]
}

const OUTCOMES: Record<string, Shape> = {
  upgraded: "ok",
  already: "ok",
  planned: "pending",
  untouched: "off",
  rolled_back: "warn",
  broken: "bad",
  left: "off",
}
export const outcomeShape = (outcome: string): Shape => OUTCOMES[outcome] ?? "off"

/** How many canaries may be asked for; helm refuses more than there are members. */
export const canariesOf = (text: string, members: number): number | null => {
  const value = /^\d+$/.test(text.trim()) ? Number(text) : -1
  return value >= 0 && value <= members ? value : null
}

/** A line as a terminal would have it. */
export function upgradeLine(event: UpgradeEvent): string {
  if (event.event === "ended") return Object.entries(event.outcomes ?? {}).map(([name, outcome]) => `${name} ${outcome}`).join(", ")
  const says = event.says ?? ""
  if (event.event === "member_ended") return `${event.outcome ?? ""}${says ? `: ${says}` : ""}`
  if (event.event === "begun") return `${says} …`
  return event.total ? `${says} ${event.done}/${event.total}`.trim() : says
}
