/** Alerts in words; pure. */
import type { Alert } from "$lib/api/types"
import type { Mark, Shape } from "$lib/facts/status"
import { hasText, t, type Key } from "$lib/i18n/index.svelte"

/** What helm looks for; a newer one may look for more. */
export const KINDS = [
  "unreachable", "link_refused", "node_stale", "certificate_expiring", "disk_low", "memory_low", "clock_behind", "clock_skewed",
  "quota_near", "quota_used", "backup_overdue", "devices_stale", "alerts_undelivered", "engine_trouble", "store_unwritable",
  "audit_forked", "pair_desync", "relay_fingerprint", "reality_key_refused", "inventory_unreadable", "passkey_copied",
] as const
export const SEVERITIES = ["critical", "warning", "info"] as const

export const FILTERS = ["severity", "state", "kind"] as const

const SHAPES: Record<string, Shape> = { critical: "bad", warning: "warn", info: "off" }
const STATES: Record<string, Shape> = { open: "pending", acknowledged: "half", resolved: "ok" }

const word = (prefix: string, text: string): string => {
  const key = `alerts.${prefix}.${text}`
  return hasText(key) ? t(key) : text.replaceAll("_", " ")
}

export const kindName = (kind: string): string => word("kind", kind)
export const outcomeName = (outcome: string): string => word("outcome", outcome)
export const whatName = (what: string): string => word("what", what)
export const severityMark = (severity: string): Mark => ({ shape: SHAPES[severity] ?? "warn", word: word("severity", severity) })
export const stateMark = (state: string): Mark => ({ shape: STATES[state] ?? "off", word: word("state", state) })

/** Where what it is about is looked at; null where there is no such page. */
export function placeOf({ noun, subject }: Alert): string | null {
  switch (noun) {
    case "node":
      return `/nodes/${subject}`
    case "relay":
      return `/relays/${subject}`
    case "user":
      return `/users?open=${subject}`
    case "device":
      return `/devices?open=${subject}`
    case "alert_target":
      return "/alerts/delivery"
    case "admin":
    case "passkey":
      return "/admins"
    default:
      return null
  }
}

/** The sentence of the page, of alerts that stand. */
export function sentence(alerts: readonly Alert[]): { title: string; detail: string } {
  const open = alerts.filter(({ state }) => state === "open")
  if (!alerts.length) return { title: t("alerts.sayNone"), detail: t("alerts.sayWell") }
  if (!open.length) return { title: t("alerts.sayAcknowledged", { n: alerts.length }), detail: t("alerts.sayWell") }
  const critical = open.filter(({ severity }) => severity === "critical").length
  return {
    title: t("alerts.sayOpen", { n: open.length }),
    detail: t("alerts.sayDetail", { critical, acknowledged: alerts.length - open.length }).trim(),
  }
}

const RANK: Record<string, number> = { critical: 0, warning: 1, info: 2 }

/** Worst first, and of what somebody is at last. */
export const weight = ({ severity, state }: Alert): number => (state === "open" ? 0 : 10) + (RANK[severity] ?? 1)

/** Whether a filter lets an alert through. */
export function fits(alert: Alert, { q, named }: { q: string; named: Record<string, string> }): boolean {
  const words = `${alert.text} ${kindName(alert.kind)} ${alert.kind}`.toLowerCase()
  return (
    Object.entries(named).every(([name, wanted]) => String(alert[name as keyof Alert]).toLowerCase() === wanted.toLowerCase()) &&
    q.toLowerCase().split(/\s+/).every((part) => words.includes(part))
  )
}

/** Kinds to choose from, by name; those in `also` are kept, whatever they are. */
export function kindOptions(also: readonly string[] = []): { value: string; label: string }[] {
  return [...new Set<string>([...KINDS, ...also])]
    .map((value) => ({ value, label: kindName(value) }))
    .toSorted((a, b) => a.label.localeCompare(b.label))
}

/** Where a target's URL begins for what it is; a person fills in the rest. */
export const EXAMPLES: readonly { label: Key; url: string }[] = [
  { label: "alerts.example.json", url: "jsons://user:password@example.org/hook" },
  { label: "alerts.example.mail", url: "mailtos://user:password@example.org?smtp=mail.example.org&from=helm@example.org&to=ops@example.org" },
  { label: "alerts.example.ntfy", url: "ntfys://example.org/topic" },
  { label: "alerts.example.matrix", url: "matrixs://user:password@matrix.example.org/%23room" },
]
