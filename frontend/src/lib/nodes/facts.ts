/** Facts of nodes and relays in, what lists and pages say of them out; pure. */
import type { Engine, Machine, Member, Node, NodeFigures, Relay } from "$lib/api/types"
import { memberWord, nodeWord } from "$lib/facts/status"
import { DAY } from "$lib/format"
import type { Filter } from "$lib/state/address.svelte"

/** helm's own alert for certificates begins later; a column should warn while there is time to plan. */
const SHORT = 30 * DAY

export const isNode = (member: Member): member is Node => "control_port" in member
export const wordOf = (member: Member): string => (isNode(member) ? nodeWord(member) : memberWord(member))

/** Engines that carry tunnels, in the order of their names; the network's rules are none. */
export const tunnels = (engines: readonly Engine[]): Engine[] =>
  engines.filter((engine) => engine.protocol !== "network").toSorted((a, b) => a.protocol.localeCompare(b.protocol))

/** The protocols of a node in the words of filters. */
export const protocolsOf = (node: Node): string[] =>
  tunnels(node.engines).map((engine) => (engine.protocol === "vless-reality" ? "reality" : engine.protocol))

/** Load for each processor that shares it; null where their number is not known. */
export const loadShare = (machine: Machine | null): number | null =>
  machine?.processors ? machine.load / machine.processors : null

export function memoryShare(machine: Machine | null): number | null {
  if (!machine || machine.memory_bytes === null || machine.memory_available_bytes === null) return null
  return machine.memory_bytes ? 1 - machine.memory_available_bytes / machine.memory_bytes : null
}

export function diskShare(machine: Machine | null): number | null {
  if (!machine || machine.disk_bytes === null || machine.disk_free_bytes === null) return null
  return machine.disk_bytes ? 1 - machine.disk_free_bytes / machine.disk_bytes : null
}

/** What devices get and send through a node together; null where nobody knows. */
export function throughput(figures: NodeFigures | undefined): number | null {
  if (!figures || (figures.down === null && figures.up === null)) return null
  return (figures.down ?? 0) + (figures.up ?? 0)
}

export const endsSoon = (at: string | null, now: number): boolean => at !== null && Date.parse(at) - now < SHORT

export interface VersionCount {
  version: string
  names: string[]
}

/** Who runs which version, the newest first; of whom nothing was heard, last and as "". */
export function versions(members: Iterable<Pick<Member, "name" | "agent_version">>): VersionCount[] {
  const found = new Map<string, string[]>()
  for (const { name, agent_version } of members) {
    const version = agent_version ?? ""
    found.set(version, [...(found.get(version) ?? []), name])
  }
  return [...found]
    .map(([version, names]) => ({ version, names: names.toSorted() }))
    .toSorted((a, b) => (a.version === "" ? 1 : b.version === "" ? -1 : compareVersions(b.version, a.version)))
}

/** As people count: 1.0.10 is after 1.0.9, and 1.0rc1 before 1.0. */
export function compareVersions(a: string, b: string): number {
  const [first, second] = [parts(a), parts(b)]
  for (let at = 0; at < Math.max(first.length, second.length); at += 1) {
    const by = weight(first[at]) - weight(second[at]) || (first[at] ?? "").localeCompare(second[at] ?? "")
    if (by) return by
  }
  return 0
}

const parts = (version: string): string[] => version.split("+")[0]!.match(/\d+|[a-z]+/g) ?? []
/** A number counts, a word ("rc") is before the end, and the end before a number. */
const weight = (part: string | undefined): number => (part === undefined ? 0 : /\d/.test(part) ? 1 + Number(part) : -1)

/** Of whom another version than helm's own has been heard. */
export const behind = <M extends Member>(members: Iterable<M>, version: string): M[] =>
  [...members].filter(
    (member) =>
      member.state !== "revoked" && member.agent_version !== null && compareVersions(member.agent_version, version) < 0,
  )

export const FILTERS = ["status", "tag", "protocol", "version", "place"] as const

/** Whether a filter lets a node or relay through. */
export function fits(member: Member, { q, named }: Filter): boolean {
  const node = isNode(member) ? member : null
  const has = (text: string, wanted: string) => text.toLowerCase().includes(wanted.toLowerCase())
  const is = (text: string, wanted: string) => text.toLowerCase() === wanted.toLowerCase()
  const tests: Record<string, (wanted: string) => boolean> = {
    status: (wanted) => is(wordOf(member), wanted),
    tag: (wanted) => node?.tags.some((tag) => is(tag, wanted)) ?? false,
    protocol: (wanted) => node !== null && protocolsOf(node).includes(wanted.toLowerCase()),
    version: (wanted) => is(member.agent_version ?? "", wanted),
    place: (wanted) => has(member.place, wanted),
  }
  const words = [member.name, member.place, member.address, member.note, ...(node?.tags ?? [])]
  return (
    Object.entries(named).every(([name, wanted]) => tests[name]?.(wanted) ?? true) &&
    q.split(/\s+/).every((word) => words.some((text) => has(text, word)))
  )
}

/** How many there are of each value, the most frequent first. */
export function tally(values: Iterable<string>): { value: string; count: number }[] {
  const counts = new Map<string, number>()
  for (const value of values) if (value) counts.set(value, (counts.get(value) ?? 0) + 1)
  return [...counts].map(([value, count]) => ({ value, count })).toSorted((a, b) => b.count - a.count || a.value.localeCompare(b.value))
}

/** Who stands before and after one in the order of names; the last is before the first. */
export function neighbours<M extends Member>(members: Iterable<M>, id: string): { before: M; after: M } | null {
  const all = [...members].toSorted((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }))
  const at = all.findIndex((member) => member.id === id)
  if (at < 0 || all.length < 2) return null
  return { before: all.at(at - 1)!, after: all[(at + 1) % all.length]! }
}

/** Why helm turned passages down, the most frequent first, with when that was told last where an event says so. */
export function refusals(
  relay: Relay,
  events: readonly { node: string | null; kind: string; text: string; at: string }[],
): { reason: string; times: number; at: string | null }[] {
  const told = events.filter((event) => event.node === relay.id && event.kind === "passage_refused")
  return Object.entries(relay.refusals ?? {})
    .map(([reason, times]) => ({ reason, times, at: told.find((event) => event.text === reason)?.at ?? null }))
    .toSorted((a, b) => b.times - a.times || a.reason.localeCompare(b.reason))
}
