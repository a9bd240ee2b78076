import type { Column } from "$lib/components/table/columns"

export const STANDING: readonly Column[] = [
  { key: "severity", label: "alerts.severity", width: 110, sort: "severity", fixed: true },
  { key: "text", label: "alerts.text", width: 380, sort: "text", fixed: true },
  { key: "kind", label: "alerts.kind", width: 170, sort: "kind", small: false },
  { key: "state", label: "alerts.state", width: 130, sort: "state" },
  { key: "by", label: "alerts.acknowledgedBy", width: 150, sort: "by", small: false },
  { key: "since", label: "alerts.since", width: 130, sort: "since", downFirst: true, small: false },
]

export const PAST: readonly Column[] = [
  { key: "severity", label: "alerts.severity", width: 110, fixed: true },
  { key: "text", label: "alerts.text", width: 380, fixed: true },
  { key: "kind", label: "alerts.kind", width: 170, small: false },
  { key: "opened", label: "alerts.opened", width: 150, small: false },
  { key: "resolved", label: "alerts.resolvedAt", width: 150 },
  { key: "lasted", label: "alerts.lasted", width: 120, num: true, small: false },
  { key: "closer", label: "alerts.resolvedBy", width: 130, small: false },
]
