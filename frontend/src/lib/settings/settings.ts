import type { Recorded } from "$lib/api/types"
import { count, NONE } from "$lib/format"
import { hasText, t } from "$lib/i18n/index.svelte"

export type Value = boolean | number | string | string[]

/** One setting as `GET /settings` lists it; version 0: nobody has set it. */
export interface Setting extends Omit<Recorded, "updated_at" | "updated_by" | "created_at"> {
  value: Value
  default: Value
  /** helm's own words for it, and for what it may be. */
  says: string
  wants: string
  updated_at: string | null
  updated_by: string | null
}

export type GroupName = "fleet" | "people" | "network" | "camouflage" | "record" | "signIn" | "singleSignOn" | "more"

/** What belongs together; a setting of a newer helm stands under "more". */
export const GROUPS: Record<Exclude<GroupName, "more">, readonly string[]> = {
  fleet: ["fleet.name", "protocols"],
  people: ["devices.limit", "quota.throttle_kbit", "account.sync"],
  network: ["policy.internet", "policy.peer_to_peer", "policy.closed", "policy.resolvers"],
  camouflage: ["reality.targets", "endpoints.rotate", "endpoints.days"],
  record: ["audit.days", "metrics.days", "copies.hourly"],
  signIn: ["admins.password"],
  singleSignOn: ["oidc.issuer", "oidc.client_id", "oidc.groups_claim", "oidc.roles", "oidc.users"],
}

/** Who comes in as what is decided by these: only owners set them, with a fresh proof. */
export const BY_OWNERS: ReadonlySet<string> = new Set([...GROUPS.signIn, ...GROUPS.singleSignOn])

export function grouped(settings: readonly Setting[]): { name: GroupName; settings: Setting[] }[] {
  const left = new Map(settings.map((setting) => [setting.id, setting]))
  const groups: { name: GroupName; settings: Setting[] }[] = []
  for (const [name, ids] of Object.entries(GROUPS)) {
    const found = ids.flatMap((id) => left.get(id) ?? [])
    for (const { id } of found) left.delete(id)
    groups.push({ name: name as GroupName, settings: found })
  }
  return [...groups, { name: "more" as const, settings: [...left.values()] }].filter((group) => group.settings.length)
}

const keyOf = (what: "name" | "help", id: string) => `settings.${what}.${id}`

/** The page's name for it, helm's own words where the page is older. */
export function nameOf(setting: Setting): string {
  const key = keyOf("name", setting.id)
  return hasText(key) ? t(key) : setting.says
}

export function helpOf(setting: Setting): string {
  const key = keyOf("help", setting.id)
  return hasText(key) ? t(key) : setting.wants
}

const PROTOCOLS: Record<string, string> = { amneziawg: "AmneziaWG", reality: "REALITY" }
export const protocolName = (word: string): string => PROTOCOLS[word] ?? word

/** A value in words. */
export function valueText(id: string, value: unknown): string {
  if (typeof value === "boolean") return value ? t("settings.on") : t("settings.off")
  if (typeof value === "number") return count(value)
  if (Array.isArray(value)) return value.map((one) => (id === "protocols" ? protocolName(String(one)) : String(one))).join(", ") || NONE
  return value ? String(value) : NONE
}

/** What was typed into a field, as the setting wants it; null: it is none. */
export function parseValue(like: Value, text: string): Value | null {
  if (typeof like === "number") return /^\d{1,9}$/.test(text.trim()) ? Number(text.trim()) : null
  if (Array.isArray(like))
    return text
      .split("\n")
      .map((line) => line.trim())
      .filter(Boolean)
  return text.trim()
}

export const fieldText = (value: Value): string => (Array.isArray(value) ? value.join("\n") : String(value))
