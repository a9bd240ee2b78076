import type { FleetEvent } from "$lib/api/types"
import { words } from "$lib/words"

export type Tone = "good" | "bad" | "accent" | "quiet"
export type Glyph = "handshake" | "in" | "out" | "dialling" | "up" | "lost" | "new" | "revoked" | "other"

/** Names of what an event is about; null where it is about no device, or is not on the list any more. */
export interface Names {
  device: string | null
  node: string | null
}

/** How an event is told: in bold who, then what. */
export interface Told {
  who: string | null
  what: string
}

interface Kind {
  glyph: Glyph
  tone: Tone
  /** Null when the names it needs are unknown: then helm's own text stands. */
  tell(names: Names, text: string): Told | null
}

const say = words.events
const ofDevice = (what: (node: string | null) => string) => (names: Names) =>
  names.device === null ? null : { who: names.device, what: what(names.node) }
const ofNode = (what: string) => (names: Names) => (names.node === null ? null : { who: names.node, what })
const told = (what: (text: string) => string) => (_names: Names, text: string) => ({ who: null, what: what(text) })

/** Every kind of event that helm sends; the live socket will use the same map. */
export const EVENTS = {
  handshake: { glyph: "handshake", tone: "good", tell: ofDevice(say.handshake) },
  connected: { glyph: "in", tone: "quiet", tell: ofDevice(say.connected) },
  disconnected: { glyph: "out", tone: "quiet", tell: ofDevice(say.disconnected) },
  gap: { glyph: "other", tone: "quiet", tell: ofNode(say.gap) },
  link_connecting: { glyph: "dialling", tone: "accent", tell: ofNode(say.linkConnecting) },
  link_up: { glyph: "up", tone: "good", tell: ofNode(say.linkUp) },
  link_lost: { glyph: "lost", tone: "bad", tell: ofNode(say.linkLost) },
  link_refused: { glyph: "lost", tone: "bad", tell: ofNode(say.linkRefused) },
  link_crashed: { glyph: "lost", tone: "bad", tell: ofNode(say.linkCrashed) },
  unreachable: { glyph: "lost", tone: "bad", tell: ofNode(say.unreachable) },
  node_added: { glyph: "new", tone: "accent", tell: ofNode(say.added) },
  relay_added: { glyph: "new", tone: "accent", tell: ofNode(say.added) },
  ticket_made: { glyph: "new", tone: "quiet", tell: told(say.invited) },
  device_enrolled: { glyph: "new", tone: "accent", tell: ofDevice(() => say.enrolled) },
  device_revoked: { glyph: "revoked", tone: "quiet", tell: ofDevice(() => say.revoked) },
} as const satisfies Record<string, Kind>

export type EventKind = keyof typeof EVENTS

const UNKNOWN: Kind = { glyph: "other", tone: "quiet", tell: () => null }

export function kindOf(event: FleetEvent): Kind {
  return Object.hasOwn(EVENTS, event.kind) ? EVENTS[event.kind as EventKind] : UNKNOWN
}

export function tell(event: FleetEvent, names: Names): Told {
  return kindOf(event).tell(names, event.text) ?? { who: null, what: event.text || event.kind }
}
