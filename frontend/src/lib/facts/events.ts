/** Every kind of event that helm tells, in words: what passes (`handshake`), and what was changed (`node_drained`). */
import { count } from "$lib/format"
import { hasText, t, type Key } from "$lib/i18n/index.svelte"

export type Tone = "good" | "bad" | "warn" | "accent" | "quiet"
export type Glyph = "handshake" | "in" | "out" | "dialling" | "up" | "lost" | "warn" | "half" | "new" | "off" | "revoked" | "other"

/** What live events and those of the history have in common. */
export interface Tellable {
  at: string
  kind: string
  node: string | null
  device: string | null
  name?: string | null
  text: string
}

/** In bold who, then what. */
export interface Told {
  who: string | null
  what: string
}

export interface Look {
  glyph: Glyph
  tone: Tone
}

/** Whom a kind is about, and so whose name has to be known to tell it in words. */
type About = "device" | "node" | "helm"
type Kind = Look & { about: About }

const kind = (glyph: Glyph, tone: Tone, about: About): Kind => ({ glyph, tone, about })

export const PASSING: Readonly<Record<string, Kind>> = {
  handshake: kind("handshake", "good", "device"),
  connected: kind("in", "quiet", "device"),
  disconnected: kind("out", "quiet", "device"),
  gap: kind("warn", "warn", "node"),
  flood: kind("warn", "warn", "node"),
  dropped: kind("warn", "warn", "helm"),
  more: kind("other", "quiet", "helm"),
  link_connecting: kind("dialling", "accent", "node"),
  link_up: kind("up", "good", "node"),
  link_lost: kind("lost", "bad", "node"),
  link_refused: kind("lost", "bad", "node"),
  link_crashed: kind("lost", "bad", "node"),
  unreachable: kind("lost", "bad", "node"),
  drifted: kind("warn", "warn", "node"),
  engine_trouble: kind("warn", "warn", "node"),
  engine_mended: kind("up", "good", "node"),
  passage_refused: kind("warn", "warn", "node"),
  store_writable: kind("up", "good", "helm"),
  store_read_only: kind("lost", "bad", "helm"),
  store_corrupt: kind("lost", "bad", "helm"),
}

const look = (glyph: Glyph, tone: Tone): Look => ({ glyph, tone })
const BORN = look("new", "accent")
const GONE = look("revoked", "quiet")

/** How changes of the record look, by what was done; of others nothing is special. */
const VERBS: Readonly<Record<string, Look>> = {
  added: BORN, made: BORN, enrolled: BORN, joined: BORN, found: BORN, issued: BORN, exported: BORN,
  enabled: look("up", "good"), resumed: look("up", "good"), resolved: look("up", "good"), renewed: look("up", "good"),
  drained: look("half", "accent"), moved: look("half", "accent"),
  disabled: look("off", "quiet"), ended: look("off", "quiet"), stopped: look("off", "quiet"), left: look("off", "quiet"),
  signed_in: look("in", "quiet"), signed_out: look("out", "quiet"), logged_in: look("in", "quiet"), linked: look("in", "quiet"),
  revoked: GONE, removed: GONE, withdrawn: GONE,
  raised: look("warn", "warn"), worsened: look("lost", "bad"), failed: look("warn", "warn"), refused: look("warn", "warn"),
}
const PLAIN = look("other", "quiet")

/** Nouns of the record whose names are two words. */
const LONG_NOUNS = ["alert_target", "alert_mute"]

function parts(kind: string): [noun: string, verb: string] {
  const noun = LONG_NOUNS.find((long) => kind.startsWith(`${long}_`)) ?? kind.slice(0, Math.max(0, kind.indexOf("_")))
  return [noun, kind.slice(noun.length + 1)]
}

const passing = (kind: string): Kind | undefined => (Object.hasOwn(PASSING, kind) ? PASSING[kind] : undefined)

export function lookOf({ kind }: { kind: string }): Look {
  const known = passing(kind)
  if (known) return known
  const [, verb] = parts(kind)
  return Object.hasOwn(VERBS, verb) ? VERBS[verb]! : PLAIN
}

/** An event in words. `node` is the name of the node or relay that it is about, if it is still there. */
export function tell(event: Tellable, node: string | null): Told {
  const known = passing(event.kind)
  if (known) return tellPassing(event, known, node) ?? { who: null, what: event.text || event.kind.replaceAll("_", " ") }
  return tellChange(event, node)
}

function tellPassing({ kind, name, text }: Tellable, { about }: Kind, node: string | null): Told | null {
  const n = Number.parseInt(text, 10)
  const words = { node, n: Number.isFinite(n) ? n : 0, text }
  if (about === "device") return name ? { who: name, what: t(`events.${node ? `${kind}At` : kind}` as Key, words) } : null
  if (about === "node") return node === null ? null : { who: node, what: t(`events.${kind}` as Key, words) }
  return { who: null, what: t(`events.${kind}` as Key, words) }
}

/** `node_drained` of "fra-1": who, and what became of it; of what has no name here, "User changed: note". */
function tellChange({ kind, name, text }: Tellable, node: string | null): Told {
  const [noun, verb] = parts(kind)
  const [nounKey, verbKey] = [`events.noun.${noun}`, `events.verb.${verb}`]
  if (!hasText(nounKey)) return { who: null, what: text || kind.replaceAll("_", " ") }
  const done = hasText(verbKey) ? t(verbKey) : verb.replaceAll("_", " ")
  const who = name ?? node
  if (who) return { who, what: text && text !== who ? `${done}: ${text}` : done }
  return { who: null, what: `${t(nounKey)} ${done}${text ? `: ${text}` : ""}` }
}

/** Of these many come at once, and one line may stand for them. */
const FOLDED = new Set(["handshake", "connected", "disconnected", "passage_refused", "drifted"])
const WINDOW = 10_000
const FEWEST = 4

/** One line of a feed: an event, or the newest of `n` alike. */
export interface FeedLine<E extends Tellable> {
  key: string
  event: E
  n: number
}

/** Folds what happened often at one place within ten seconds; `events` are newest first, and so are the lines. */
export function fold<E extends Tellable>(events: readonly E[], keyOf: (event: E) => string): FeedLine<E>[] {
  const burst = ({ kind, node, at }: E): string | null =>
    FOLDED.has(kind) && node !== null ? `${kind} ${node} ${Math.floor(Date.parse(at) / WINDOW)}` : null
  const sizes = new Map<string, number>()
  for (const event of events) {
    const of = burst(event)
    if (of) sizes.set(of, (sizes.get(of) ?? 0) + 1)
  }
  const told = new Set<string>()
  const lines: FeedLine<E>[] = []
  for (const event of events) {
    const of = burst(event)
    const n = of ? sizes.get(of)! : 1
    if (!of || n < FEWEST) lines.push({ key: keyOf(event), event, n: 1 })
    else if (!told.has(of)) {
      told.add(of)
      lines.push({ key: of, event, n })
    }
  }
  return lines
}

/** A folded line: "38 handshakes on fra-1". */
export function tellMany({ event, n }: FeedLine<Tellable>, node: string | null): Told {
  return node === null
    ? { who: null, what: `${count(n)} × ${event.kind.replaceAll("_", " ")}` }
    : { who: node, what: t(`events.many.${event.kind}` as Key, { n }) }
}
