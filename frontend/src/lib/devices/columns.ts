import type { Column } from "$lib/components/table/columns"

/** What `name:value` in the filter field may name. */
export const DEVICE_FILTERS = ["status", "user", "group", "node", "profile", "exported", "protocol"] as const
export const DEVICE_STATUSES = ["online", "offline", "sending", "stale", "disabled", "expired", "revoked"] as const
export const PROFILE_STATES = ["synced", "sending", "stale", "none"] as const

export const DEVICE_COLUMNS: readonly Column[] = [
  { key: "name", label: "devices.device", width: 180, sort: "name", fixed: true },
  { key: "user", label: "devices.user", width: 140, sort: "user", small: false },
  { key: "status", label: "common.status", width: 106, sort: "status" },
  { key: "node", label: "devices.node", width: 92, sort: "node", small: false },
  { key: "handshake", label: "devices.handshake", width: 142, sort: "handshake", downFirst: true },
  { key: "profile", label: "devices.profile", width: 118, sort: "profile", small: false },
  { key: "used", label: "devices.used", width: 228, sort: "used", downFirst: true, small: false },
  { key: "expires", label: "common.expires", width: 96, sort: "expires", num: true, small: false },
  { key: "protocol", label: "devices.protocol", width: 110, small: false, extra: true },
  { key: "address", label: "devices.address", width: 130, mono: true, small: false, extra: true },
  { key: "endpoint", label: "devices.endpoint", width: 180, mono: true, small: false, extra: true },
  { key: "rates", label: "devices.rates", width: 190, num: true, small: false, extra: true },
  { key: "limit", label: "devices.rateLimit", width: 110, num: true, small: false, extra: true },
  { key: "created", label: "common.created", width: 110, sort: "created", downFirst: true, num: true, small: false, extra: true },
  { key: "note", label: "common.note", width: 200, small: false, extra: true },
]
