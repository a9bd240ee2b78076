import type { Device, Node, Relay } from "$lib/api/types"
import { words } from "$lib/words"

/** The shapes by which each status is told apart without colour (and the colour that goes with it). */
export type Shape = "ok" | "warn" | "bad" | "half" | "pending" | "off" | "revoked"

export interface Mark {
  shape: Shape
  word: string
}

/** A handshake is renewed every two minutes while there is traffic; after three the session is dead. */
export const HANDSHAKE_LIFE = 180_000

const say = words.status

const REST: Record<string, Mark> = {
  disabled: { shape: "off", word: say.disabled },
  revoked: { shape: "revoked", word: say.revoked },
}
const DOWN: Record<string, Mark> = {
  lost: { shape: "bad", word: say.silent },
  refused: { shape: "bad", word: say.refused },
  crashed: { shape: "bad", word: say.crashed },
}
const MOVING: Record<string, Mark> = {
  joining: { shape: "pending", word: say.joining },
  draining: { shape: "half", word: say.draining },
}

/** Certificates allow for five minutes; helm's own alert begins there, too. */
const MOST_SKEW = 300_000

/** A link that is dialled, and has been for so long that somebody should look, is as one that was lost. */
export const linkOf = (thing: Node | Relay) => (thing.unreachable && thing.link === "connecting" ? "lost" : thing.link)

/** Whether helm has tried and failed; what it has not tried yet is not down. */
export const isDown = (thing: Node | Relay): boolean => Object.hasOwn(DOWN, linkOf(thing))

/** What an admin took out of service says so; a silent node is bad in any other state. */
export function nodeMark(node: Node): Mark {
  const said = REST[node.state] ?? DOWN[linkOf(node)] ?? MOVING[node.state]
  if (said) return said
  if (node.link === "connecting") return { shape: "pending", word: say.connecting }
  if (node.link !== "up") return { shape: "off", word: node.link }
  if (node.state !== "active") return { shape: "off", word: node.state }
  if (Math.abs(node.clock_skew_ms) > MOST_SKEW) return { shape: "warn", word: say.clock }
  if (node.engines?.some((engine) => engine.trouble)) return { shape: "warn", word: say.engine }
  if (node.applied_revision < node.desired_revision) return { shape: "pending", word: say.sending }
  return { shape: "ok", word: say.healthy }
}

export function relayMark(relay: Relay): Mark {
  if (relay.link === "up") return { shape: "ok", word: say.up }
  const down = DOWN[linkOf(relay)]
  if (down) return down
  if (relay.link === "connecting") return { shape: "pending", word: say.connecting }
  return { shape: "off", word: relay.link }
}

/** `asOf`: the moment the picture is about, milliseconds since the epoch. */
export function deviceMark(device: Device, asOf: number): Mark {
  const said = REST[device.state]
  if (said) return said
  const seen = device.last_handshake_at === null ? -Infinity : Date.parse(device.last_handshake_at)
  return asOf - seen < HANDSHAKE_LIFE ? { shape: "ok", word: say.online } : { shape: "off", word: say.offline }
}

/** Whether a node is in service at all, and so counts in "11 of 14". */
export const inService = (node: Node): boolean => !Object.hasOwn(REST, node.state)
