import type { Counts, ProfileRow } from "$lib/api/types"
import { list } from "$lib/format"
import { t } from "$lib/i18n/index.svelte"

export interface Sentence {
  title: string
  detail: string
}

/** How many profiles are synced, and what is with the others. */
export function sentence(profiles: Counts["profiles"] | null): Sentence {
  if (!profiles) return { title: t("profiles.sayUnknown"), detail: "" }
  const { synced, sending, stale } = profiles
  const all = synced + sending + stale
  if (all === 0) return { title: t("profiles.sayNone"), detail: t("profiles.sayNoneDetail") }
  const others = [sending ? t("profiles.saySending", { n: sending }) : "", stale ? t("profiles.sayStale", { n: stale }) : ""].filter(Boolean)
  return {
    title: synced === all ? t("profiles.sayAll", { n: all }) : t("profiles.say", { synced, n: all }),
    detail: others.length ? others.join(" ") : t("profiles.sayWell"),
  }
}

const NAMES: Record<string, string> = { amneziawg: "AmneziaWG", reality: "REALITY", "vless-reality": "REALITY" }

/** What a profile lets its device do. */
export function contents(row: Pick<ProfileRow, "nodes" | "protocols">): string {
  if (!row.nodes) return t("profiles.containsNothing")
  const by = list(row.protocols.map((protocol) => NAMES[protocol] ?? protocol))
  return by ? t("profiles.containsBy", { n: row.nodes, by }) : t("profiles.containsNodes", { n: row.nodes })
}
