import type { Column } from "$lib/components/table/columns"

export const SESSION_FILTERS = ["node", "device", "user", "protocol"] as const
/** Which sessions: those that live, those that are over, or both. */
export type Show = "live" | "ended" | "all"

const FIRST: readonly Column[] = [
  { key: "device", label: "sessions.device", width: 176, sort: "device", fixed: true },
  { key: "user", label: "sessions.user", width: 132, small: false },
  { key: "node", label: "sessions.node", width: 92, sort: "node" },
  { key: "protocol", label: "sessions.protocol", width: 116, small: false },
]
const LAST: readonly Column[] = [
  { key: "endpoint", label: "sessions.endpoint", width: 176, mono: true, small: false },
  { key: "bytes", label: "sessions.bytes", width: 96, num: true, small: false, extra: true },
]

export function columnsOf(show: Show, may: boolean): readonly Column[] {
  const live: Column[] = [
    { key: "opened", label: "sessions.opened", width: 104, sort: "opened", downFirst: true, small: false },
    { key: "seen", label: "sessions.seen", width: 142, sort: "seen", downFirst: true },
    { key: "rates", label: "sessions.rates", width: 184, num: true, small: false },
  ]
  const over: Column[] = [
    { key: "state", label: "sessions.state", width: 150 },
    { key: "opened", label: "sessions.opened", width: 130, sort: "opened", downFirst: true, small: false },
    { key: "ended", label: "sessions.endedAt", width: 130, small: false },
    { key: "lasted", label: "sessions.lasted", width: 116, num: true, small: false },
  ]
  const end: Column[] = may && show !== "ended" ? [{ key: "end", label: "sessions.actions", width: 80, num: true, fixed: true, small: false }] : []
  return [...FIRST, ...(show === "live" ? live : over), ...LAST, ...end]
}
