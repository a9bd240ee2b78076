/** The overview in words: one true sentence, and what needs a person. Pure. */
import type { Alert, Counts, Member, Node, Relay } from "$lib/api/types"
import { count, duration, list, percent } from "$lib/format"
import { t, type Key } from "$lib/i18n/index.svelte"
import { sentence as asSentence } from "./failure"
import { inService, isDown, linkOf, memberWord, nodeWord, severity, type Shape } from "./status"

/** What of the picture both are made of. */
export interface Facts {
  nodes: readonly Node[]
  relays: readonly Relay[]
  alerts: readonly Alert[]
  counts: Counts | null
  beaconWarning: string | null
}

export interface Sentence {
  title: string
  detail: string
}

/** What can be done about a need, from the overview. */
export type NeedAct =
  | { does: "open"; label: Key; href: string }
  | { does: "redial"; node: string }
  | { does: "acknowledge"; alert: string }

export interface Need {
  id: string
  shape: Shape
  title: string
  detail: string
  /** RFC 3339; since when, where that is known. */
  since: string | null
  acts: readonly NeedAct[]
}

/** More names than this are a number. */
const NAMED = 3

const names = (members: readonly Member[]): string =>
  members.length > NAMED
    ? t("overview.namesAndMore", {
        names: members.slice(0, NAMED - 1).map((member) => member.name).join(", "),
        n: members.length - NAMED + 1,
      })
    : list(members.map((member) => member.name))

/** Settings that are on their way for a moment make nobody ill. */
export const isWell = (node: Node): boolean => ["healthy", "sending"].includes(nodeWord(node))
export const settingsHeld = (node: Node): boolean => node.applied_revision >= node.desired_revision

export function sentence(facts: Facts, now: number): Sentence {
  const all = facts.nodes
  if (!all.length) return { title: t("overview.empty"), detail: t("overview.emptyDetail") }
  const nodes = all.filter(inService)
  const devices = deviceSentence(facts.counts)
  if (!nodes.length) return { title: t("overview.resting", { n: all.length, names: names(all) }), detail: devices }
  const well = nodes.filter(isWell)
  const trouble = [...nodeTrouble(nodes, now), ...relayTrouble(facts.relays)]
  if (well.length < nodes.length) {
    const tunnels = nodes.some(isDown) ? [t("overview.goesOn")] : []
    return {
      title: t("overview.healthy", { h: well.length, n: nodes.length }),
      detail: [...trouble, devices, ...tunnels].join(" "),
    }
  }
  const allWell = t("overview.allHealthy", { n: nodes.length })
  if (trouble.length || needs(facts).length) return { title: allWell, detail: [...trouble, devices].join(" ") }
  return { title: t("overview.well"), detail: `${allWell}. ${devices}` }
}

function deviceSentence(counts: Counts | null): string {
  if (!counts) return ""
  const { all, online, revoked } = counts.devices
  const kept = all - revoked
  return kept > 0 ? t("overview.connected", { online, n: kept }) : t("overview.noDevice")
}

function nodeTrouble(nodes: readonly Node[], now: number): string[] {
  const by = new Map<string, Node[]>()
  for (const node of nodes) by.set(nodeWord(node), [...(by.get(nodeWord(node)) ?? []), node])
  const said = (word: string, key: Key, more: (those: Node[]) => Record<string, string> = () => ({})) => {
    const those = by.get(word)
    return those ? [t(key, { n: those.length, names: names(those), ...more(those) })] : []
  }
  const longest = (those: Node[]) => ({ age: duration(now - Math.min(...those.map((node) => Date.parse(node.since)))) })
  return [
    ...said("silent", "overview.silent", longest),
    ...said("refused", "overview.refused"),
    ...said("crashed", "overview.crashed"),
    ...said("clock", "overview.clock"),
    ...said("engine", "overview.engine"),
    ...said("busy", "overview.busy"),
    ...said("draining", "overview.draining"),
    ...said("joining", "overview.joining"),
    ...said("connecting", "overview.connecting"),
  ]
}

function relayTrouble(relays: readonly Relay[]): string[] {
  const serving = relays.filter(inService)
  const down = serving.filter(isDown)
  return down.length ? [t("overview.relaysDown", { down: down.length, n: serving.length, names: names(down) })] : []
}

/** Kinds of alerts that say what a link says by itself. */
const SEEN = new Set(["unreachable", "link_refused", "clock_skewed", "engine_trouble"])

/** Worst first, and of the same weight the longest first. */
export function needs(facts: Facts): Need[] {
  const members: Need[] = [...facts.nodes, ...facts.relays].filter(inService).flatMap(memberNeed)
  const told = new Set(members.map((need) => need.id))
  const alerts = facts.alerts
    .filter(({ state, kind, subject }) => state === "open" && !(SEEN.has(kind) && told.has(subject)))
    .filter(({ kind }) => kind !== "devices_stale" || !facts.counts?.profiles.stale)
    .map(alertNeed)
  const all = [...members, ...alerts, ...countNeeds(facts)]
  const weight = ({ shape }: Need) => severity({ shape, word: "" })
  const begun = ({ since }: Need) => (since === null ? Infinity : Date.parse(since))
  const sooner = (a: Need, b: Need) => (begun(a) === begun(b) ? 0 : begun(a) < begun(b) ? -1 : 1)
  return all.sort((a, b) => weight(a) - weight(b) || sooner(a, b))
}

const isNode = (member: Member): member is Node => "control_port" in member

function memberNeed(member: Member): Need[] {
  const node = isNode(member)
  const word = node ? nodeWord(member) : memberWord(member)
  const open: NeedAct = {
    does: "open",
    label: node ? "overview.openNode" : "overview.openRelay",
    href: `/${node ? "nodes" : "relays"}/${member.id}`,
  }
  const need = (shape: Shape, detail: string, acts: NeedAct[] = [open]): Need[] => [
    { id: member.id, shape, title: t(`overview.need.${word}` as Key, { name: member.name }), detail, since: member.since, acts },
  ]
  if (isDown(member)) {
    const cause = member.detail ? asSentence(member.detail) : ""
    const next = linkOf(member) === "refused" ? t("overview.refusedNext") : t("overview.redialling")
    return need("bad", [cause, next].filter(Boolean).join(" "), node ? [open, { does: "redial", node: member.id }] : [open])
  }
  if (word === "clock") return need("warn", t("overview.clockDetail", { seconds: Math.round(Math.abs(member.clock_skew_ms) / 1_000) }))
  if (word === "engine" && node) {
    const troubles = member.engines.filter((engine) => engine.trouble).map((engine) => asSentence(engine.trouble!))
    return need("warn", troubles.join(" "))
  }
  if (word === "busy" && node && member.machine?.processors) {
    const userspace = member.engines.some((engine) => engine.protocol === "amneziawg" && engine.driver !== "kernel")
    const load = t("overview.busyDetail", { share: percent(member.machine.load5 / member.machine.processors) })
    return need("warn", userspace ? `${load} ${t("overview.busyUserspace")}` : load)
  }
  return []
}

const WEIGHTS: Record<string, Shape> = { critical: "bad", warning: "warn", info: "off" }
const PLACES: Record<string, { href: (id: string) => string; label: Key }> = {
  node: { href: (id) => `/nodes/${id}`, label: "overview.openNode" },
  relay: { href: (id) => `/relays/${id}`, label: "overview.openRelay" },
  user: { href: (id) => `/users?open=${id}`, label: "overview.openUser" },
  device: { href: (id) => `/devices?open=${id}`, label: "overview.openDevice" },
}

function alertNeed({ id, severity, text, opened_at, noun, subject, kind }: Alert): Need {
  const place = PLACES[noun]
  const open: NeedAct = place
    ? { does: "open", label: place.label, href: place.href(subject) }
    : { does: "open", label: "overview.openAlert", href: `/alerts?open=${id}` }
  return {
    id,
    shape: WEIGHTS[severity] ?? "warn",
    title: asSentence(text || kind.replaceAll("_", " ")).replace(/\.$/, ""),
    detail: "",
    since: opened_at,
    acts: [open, { does: "acknowledge", alert: id }],
  }
}

function countNeeds({ counts, beaconWarning }: Facts): Need[] {
  const found: Need[] = []
  const add = (id: string, shape: Shape, title: string, detail: string, label: Key, href: string) =>
    found.push({ id, shape, title, detail, since: null, acts: [{ does: "open", label, href }] })
  const stale = counts?.profiles.stale ?? 0
  const adoptions = counts?.adoptions ?? 0
  if (beaconWarning)
    add("beacon", "warn", t("overview.beacon"), asSentence(beaconWarning), "overview.openRelays", "/relays")
  if (adoptions)
    add("adoptions", "warn", t("overview.adoptions", { n: adoptions }), t("overview.adoptionsDetail"), "overview.openRecovery", "/recovery")
  if (stale)
    add("stale", "warn", t("overview.stale", { n: stale }), t("overview.staleDetail"), "overview.openProfiles", "/profiles?filter=state:stale")
  return found
}

/** What happens by itself, for when nothing needs anybody; null where nobody knows. */
export function calm(nodes: readonly Node[], now: number): string {
  const ends = nodes.filter(inService).flatMap((node) => node.certificate_ends_at ?? []).map((at) => Date.parse(at))
  if (!ends.length) return t("overview.calm")
  return t("overview.calmCertificates", { age: duration(Math.max(0, Math.min(...ends) - now)) })
}

/** The third line of "Settings in force": who lacks what, or that nobody does. */
export function settingsNote(nodes: readonly Node[]): string {
  const serving = nodes.filter(inService)
  const behind = serving.filter((node) => !settingsHeld(node))
  const draining = serving.filter((node) => node.state === "draining" && settingsHeld(node))
  const parts = [
    ...(draining.length ? [t("overview.isDraining", { n: draining.length, names: names(draining) })] : []),
    ...(behind.length ? [t("overview.isWaiting", { n: behind.length, names: names(behind) })] : []),
  ]
  return parts.length ? parts.join(" · ") : t("overview.inForce")
}

/** How many nodes hold the newest settings, of how many, and which those are. */
export function settingsCount(nodes: readonly Node[]): { held: number; of: number; revision: number } {
  const serving = nodes.filter(inService)
  return {
    held: serving.filter(settingsHeld).length,
    of: serving.length,
    revision: Math.max(0, ...serving.map((node) => node.desired_revision)),
  }
}

/** "3,482" with what it is of. */
export const ofDevices = (counts: Counts | null): string =>
  counts ? t("overview.ofDevices", { n: counts.devices.all - counts.devices.revoked, shown: count(counts.devices.all - counts.devices.revoked) }) : ""
