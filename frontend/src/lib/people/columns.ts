import type { Column } from "$lib/components/table/columns"

export const USER_FILTERS = ["status", "group"] as const
export const USER_STATUSES = ["active", "disabled", "expired"] as const

export const USER_COLUMNS: readonly Column[] = [
  { key: "name", label: "common.name", width: 200, sort: "name", fixed: true },
  { key: "status", label: "common.status", width: 116 },
  { key: "devices", label: "people.devices", width: 150, sort: "online", downFirst: true },
  { key: "groups", label: "people.groups", width: 180, small: false },
  { key: "used", label: "people.used", width: 228, sort: "used", downFirst: true, small: false },
  { key: "expires", label: "common.expires", width: 110, sort: "expires", num: true, small: false },
  { key: "email", label: "people.email", width: 220, sort: "email", small: false },
  { key: "limit", label: "people.deviceLimit", width: 120, num: true, small: false, extra: true },
  { key: "login", label: "people.login", width: 120, small: false, extra: true },
  { key: "created", label: "common.created", width: 110, sort: "created", downFirst: true, num: true, small: false, extra: true },
  { key: "note", label: "common.note", width: 200, small: false, extra: true },
]

export const GROUP_COLUMNS: readonly Column[] = [
  { key: "name", label: "common.name", width: 200, sort: "name", fixed: true },
  { key: "members", label: "people.members", width: 130, sort: "members", downFirst: true, num: true },
  { key: "nodes", label: "people.nodes", width: 260 },
  { key: "protocols", label: "people.protocols", width: 200, small: false },
  { key: "created", label: "common.created", width: 120, sort: "created", downFirst: true, num: true, small: false, extra: true },
  { key: "note", label: "common.note", width: 240, small: false },
]
