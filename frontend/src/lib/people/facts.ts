import type { Node } from "$lib/api/types"
import { count, list } from "$lib/format"
import { hasText, t } from "$lib/i18n/index.svelte"

const NAMES: Record<string, string> = { amneziawg: "AmneziaWG", reality: "REALITY" }
/** So many names are told; the rest is a number. */
const NAMED = 4

export interface Grant {
  node_tags: readonly string[]
  protocols: readonly string[]
  everybody: boolean
}

/** The nodes that a group grants now: those with one of its tags, or all. */
export function grantedNodes(group: Grant, nodes: Iterable<Pick<Node, "id" | "name" | "tags">>): string[] {
  return [...nodes]
    .filter((node) => !group.node_tags.length || node.tags.some((tag) => group.node_tags.includes(tag)))
    .map((node) => node.name)
    .toSorted((a, b) => a.localeCompare(b))
}

export const protocolNames = (protocols: readonly string[]): string => list(protocols.map((one) => NAMES[one] ?? one))

/** What a group grants to whom, in a sentence. */
export function grantSentence(group: Grant, members: number | null, nodes: readonly string[]): string {
  const who = group.everybody ? t("people.grantEverybody") : !members ? t("people.grantMembers") : t("people.grantN", { n: members })
  const by = protocolNames(group.protocols)
  if (!nodes.length) return group.node_tags.length ? t("people.grantNone", { who, tags: list(group.node_tags) }) : t("people.grantNoNode", { who })
  if (!group.node_tags.length) return t("people.grantAll", { who, n: nodes.length, by })
  const named = nodes.slice(0, NAMED)
  const rest = nodes.length - named.length
  const where = list(rest > 0 ? [...named, t("people.andMore", { n: rest, count: count(rest) })] : named)
  return t("people.grantSome", { who, nodes: where, by })
}

/** A word of helm in the reader's language; one of a newer helm as it is. */
export function wordOf(kind: "period" | "action", word: string): string {
  const key = `people.${kind}.${word}`
  return hasText(key) ? t(key) : word
}

export interface ImportProblem {
  line: number
  column: string
  says: string
}

/** What is wrong, line by line, in the order of the file. */
export function byLine(problems: readonly ImportProblem[]): { line: number; problems: ImportProblem[] }[] {
  const lines = new Map<number, ImportProblem[]>()
  for (const problem of problems) lines.set(problem.line, [...(lines.get(problem.line) ?? []), problem])
  return [...lines].toSorted(([a], [b]) => a - b).map(([line, all]) => ({ line, problems: all }))
}

export interface Invited {
  name: string
  email: string | null
  link: string | null
  link_expires_at: string | null
}

/** The links as a spreadsheet reads them: a line for each person (RFC 4180). */
export function linksCsv(people: readonly Invited[]): string {
  const rows = people.filter((one) => one.link !== null).map((one) => [one.name, one.email ?? "", one.link!, one.link_expires_at ?? ""])
  return [["name", "email", "link", "expires"], ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("")
}

const cell = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)
