import type { Column } from "$lib/components/table/columns"

export const PROFILE_FILTERS = ["state", "user"] as const
export const PROFILE_STATES = ["synced", "sending", "stale", "none"] as const

export const PROFILE_COLUMNS: readonly Column[] = [
  { key: "device", label: "profiles.device", width: 200, sort: "device", fixed: true },
  { key: "user", label: "profiles.user", width: 160, sort: "user", small: false },
  { key: "state", label: "profiles.state", width: 130, sort: "state" },
  { key: "revision", label: "profiles.revision", width: 130, sort: "revision", downFirst: true },
  { key: "epoch", label: "profiles.epoch", width: 124, num: true, small: false, extra: true },
  { key: "fetched", label: "profiles.fetched", width: 150, sort: "fetched", downFirst: true, small: false },
  { key: "made", label: "profiles.made", width: 150, small: false },
  { key: "contains", label: "profiles.contains", width: 230, small: false },
  { key: "size", label: "profiles.size", width: 96, num: true, small: false },
]
