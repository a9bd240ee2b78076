import type { FleetFigures, NodeFigures } from "$lib/api/types"
import { count, list, rate } from "$lib/format"
import { hasText, t } from "$lib/i18n/index.svelte"

export interface Sentence {
  title: string
  detail: string
}

export interface Carrying {
  name: string
  figures: Pick<NodeFigures, "sessions"> | undefined
}

/** So many nodes are named; the rest is a number. */
const NAMED = 3

/** How many sessions there are, and where. */
export function sentence(total: FleetFigures | null, nodes: readonly Carrying[]): Sentence {
  const known = nodes.filter((node) => typeof node.figures?.sessions === "number")
  const carrying = known.filter((node) => node.figures!.sessions! > 0).toSorted((a, b) => b.figures!.sessions! - a.figures!.sessions! || a.name.localeCompare(b.name))
  const sum = total?.sessions ?? (known.length ? carrying.reduce((all, node) => all + node.figures!.sessions!, 0) : null)
  if (sum === null) return { title: t("sessions.sayUnknown"), detail: t("sessions.sayUnknownDetail") }
  if (sum === 0) return { title: t("sessions.sayNone"), detail: nodes.length ? t("sessions.sayNoneDetail") : t("sessions.sayNoNodes") }
  const title = carrying.length ? t("sessions.say", { n: sum, nodes: carrying.length }) : t("sessions.sayOnly", { n: sum })
  const most = carrying.slice(0, NAMED).map((node) => t("sessions.onNode", { node: node.name, n: node.figures!.sessions! }))
  const rest = carrying.slice(NAMED).reduce((all, node) => all + node.figures!.sessions!, 0)
  const where = rest > 0 ? [...most, t("sessions.onOthers", { n: rest })] : most
  const silent = nodes.length - known.length
  return {
    title,
    detail: [
      where.length ? `${list(where)}.` : "",
      total && total.down !== null && total.up !== null ? t("sessions.sayRates", { down: rate(total.down), up: rate(total.up) }) : "",
      silent ? t("sessions.saySilent", { n: silent, count: count(silent) }) : "",
    ]
      .filter(Boolean)
      .join(" "),
  }
}

/** Why a session is over, in a word; one of a newer node is shown as it is. */
export function endedWord(reason: string): string {
  const key = `sessions.reason.${reason || "ended"}`
  return hasText(key) ? t(key) : reason.replaceAll("_", " ")
}
