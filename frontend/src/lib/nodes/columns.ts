import type { Column } from "$lib/components/table/columns"

export const NODE_COLUMNS: readonly Column[] = [
  { key: "name", label: "nodes.node", width: 146, sort: "name", fixed: true },
  { key: "status", label: "common.status", width: 110, sort: "status", fixed: true },
  { key: "address", label: "common.address", width: 112, sort: "address", mono: true, small: false },
  { key: "engines", label: "nodes.engines", width: 180, small: false },
  { key: "sessions", label: "nodes.sessions", width: 80, sort: "sessions", downFirst: true, num: true, small: false },
  { key: "throughput", label: "nodes.throughput", width: 156, sort: "throughput", downFirst: true },
  { key: "load", label: "nodes.load", width: 108, sort: "load", downFirst: true, small: false },
  { key: "revision", label: "nodes.settings", width: 100, sort: "revision", small: false },
  { key: "certificate", label: "nodes.certificate", width: 78, sort: "certificate", num: true, small: false },
  { key: "word", label: "nodes.lastWord", width: 90, sort: "word", num: true, small: false },
  { key: "memory", label: "nodes.memory", width: 124, sort: "memory", downFirst: true, extra: true, small: false },
  { key: "version", label: "nodes.version", width: 90, sort: "version", extra: true, small: false },
  { key: "tags", label: "nodes.tags", width: 120, extra: true, small: false },
  { key: "latency", label: "nodes.latency", width: 80, sort: "latency", num: true, extra: true, small: false },
]

export const RELAY_COLUMNS: readonly Column[] = [
  { key: "name", label: "relays.relay", width: 180, sort: "name", fixed: true },
  { key: "status", label: "common.status", width: 120, sort: "status", fixed: true },
  { key: "address", label: "common.address", width: 170, sort: "address", mono: true, small: false },
  { key: "passages", label: "relays.passages", width: 96, sort: "passages", downFirst: true, num: true },
  { key: "accepted", label: "relays.accepted", width: 112, sort: "accepted", downFirst: true, num: true, small: false },
  { key: "refused", label: "relays.refused", width: 96, sort: "refused", downFirst: true, num: true, small: false },
  { key: "tunnel", label: "relays.tunnelAge", width: 120, sort: "tunnel", num: true, small: false },
  { key: "certificate", label: "nodes.certificate", width: 90, sort: "certificate", num: true, small: false },
  { key: "word", label: "nodes.lastWord", width: 96, sort: "word", num: true, small: false },
  { key: "version", label: "nodes.version", width: 96, sort: "version", small: false },
]
