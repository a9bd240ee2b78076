import type { Member, Node, Relay } from "$lib/api/types"
import { hasText, t } from "$lib/i18n/index.svelte"
import type { Shape } from "$lib/components/ui/StatusShape.svelte"

export type { Shape }

export interface Mark {
  shape: Shape
  word: string
}

/** A handshake is renewed every two minutes while there is traffic; after three the session is dead. */
export const HANDSHAKE_LIFE = 180_000
/** Certificates allow for five minutes; helm's own alert begins there, too. */
const MOST_SKEW = 300_000
/** Load of five minutes for each processor, from which on a node is busy. */
const BUSY = 0.85
const DOWN = new Set(["lost", "refused", "crashed"])
const SHAPES: Record<string, Shape> = {
  healthy: "ok", online: "ok", up: "ok", active: "ok", synced: "ok", open: "ok", done: "ok",
  busy: "warn", stale: "warn", clock: "warn", engine: "warn",
  silent: "bad", lost: "bad", refused: "bad", crashed: "bad", failed: "bad",
  draining: "half",
  joining: "pending", sending: "pending", connecting: "pending", invited: "pending", running: "pending",
  disabled: "off", offline: "off", expired: "off", none: "off",
  revoked: "revoked",
}

/** A status word of helm with its shape; one from a newer helm is shown as it is, and never as healthy. */
export function markOf(word: string): Mark {
  const key = `status.${word}`
  return { shape: SHAPES[word] ?? "off", word: hasText(key) ? t(key) : word }
}

/** A link that is dialled, and has been for so long that somebody should look, is as one that was lost. */
export const linkOf = (thing: Member): string => (thing.unreachable && thing.link === "connecting" ? "lost" : thing.link)

/** Whether helm has tried and failed; what it has not tried yet is not down. */
export const isDown = (thing: Member): boolean => DOWN.has(linkOf(thing))

/** Whether it is in service at all, and so counts in "11 of 14". */
export const inService = (thing: Member): boolean => thing.state !== "disabled" && thing.state !== "revoked"

/** What an admin took out of service says so; a silent one is bad in any other state. */
export function memberWord(thing: Member): string {
  if (!inService(thing)) return thing.state
  if (isDown(thing)) return linkOf(thing) === "lost" ? "silent" : linkOf(thing)
  if (thing.state === "joining" || thing.state === "draining") return thing.state
  if (thing.link !== "up") return thing.link
  return thing.state === "active" ? "up" : thing.state
}

export function nodeWord(node: Node): string {
  const word = memberWord(node)
  if (word !== "up") return word
  if (Math.abs(node.clock_skew_ms) > MOST_SKEW) return "clock"
  if (node.engines?.some((engine) => engine.trouble)) return "engine"
  if (node.applied_revision < node.desired_revision) return "sending"
  if (node.machine?.processors && node.machine.load5 > BUSY * node.machine.processors) return "busy"
  return "healthy"
}

export const nodeMark = (node: Node): Mark => markOf(nodeWord(node))
export const relayMark = (relay: Relay): Mark => markOf(memberWord(relay))

/** Worst first, for lists of nodes and relays. */
const WORST: readonly Shape[] = ["bad", "warn", "pending", "half", "off", "revoked", "ok"]
export const severity = (mark: Mark): number => WORST.indexOf(mark.shape)
