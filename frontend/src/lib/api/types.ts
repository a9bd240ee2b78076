/** helm's JSON. Times are RFC 3339 text; ids are text; `null` is none or not known. Newer helms may add words. */

export interface Problem {
  type: string
  title: string
  status: number
  detail: string
  current?: Record<string, unknown> | null
}

export type Role = "viewer" | "operator" | "admin" | "owner"

export interface Me {
  name: string
  role: Role
  csrf: string
  /** link, password, passkey or oidc. */
  how: string
  expires_at: string
  /** Until then owner's acts need no further proof. */
  fresh_until: string
  password_set: boolean
  totp_set: boolean
}

export interface Page<T> {
  items: T[]
  cursor: string | null
  total?: number
}

/** What every record has. */
export interface Recorded {
  id: string
  version: number
  created_at: string
  updated_at: string
  updated_by: string
}

/**
 * State of the connection which helm dialled. `lost` is redialled, `refused` is not; `crashed` is a fault in
 * helm itself, tried again after a while.
 */
export type Link = "up" | "lost" | "refused" | "crashed" | "connecting" | (string & {})
export type MemberState = "active" | "joining" | "draining" | "disabled" | "revoked" | (string & {})

/** What nodes and relays have in common. */
export interface Member {
  id: string
  version: number
  name: string
  /** Host name or IP address that helm dials. */
  address: string
  state: MemberState
  link: Link
  /** Since when the link is in this state. */
  since: string
  /** Why the link is not up. */
  detail: string | null
  /** Not heard of for 45 seconds, the sleep of helm's own machine left out. */
  unreachable: boolean
  clock_skew_ms: number
  agent_version: string | null
  certificate_ends_at: string | null
  last_word_at: string | null
  place: string
  latitude: number | null
  longitude: number | null
  note: string
}

/** What carries one protocol at a node. */
export interface Engine {
  protocol: "amneziawg" | "vless-reality" | "network" | (string & {})
  driver: string
  /** What keeps it from being what was ordered; null: it is that. */
  trouble: string | null
}

export interface Machine {
  /** Processes that ran or wanted to, of the last minute, and of the last five. */
  load: number
  load5: number
  /** That share the load; null from a node of an earlier version. */
  processors: number | null
  memory_bytes: number | null
  memory_available_bytes: number | null
  disk_bytes: number | null
  disk_free_bytes: number | null
}

export interface Node extends Member {
  control_port: number
  /** UDP port of AmneziaWG. */
  awg_port: number
  tags: string[]
  engines: Engine[]
  machine: Machine | null
  /** Revision of the settings which the node has acknowledged, and the one it should have. */
  applied_revision: number
  desired_revision: number
  peers: number
}

export interface Relay extends Member {
  aboard: boolean
  ingress_port: number
  tunnel_port: number
  /** Open end-to-end sessions between devices and helm through this relay. */
  passages: number
  accepted: number
  refused: number
  /** The same by reason. */
  refusals?: Record<string, number>
  last_error: string | null
  last_error_at: string | null
}

export interface FleetEvent {
  /** Rises from event to event while helm runs. */
  sequence: number
  at: string
  kind: string
  /** Id of a node or a relay. */
  node: string | null
  device: string | null
  /** The device's name, where it is about one. */
  name?: string | null
  /** helm's own words; may be empty. */
  text: string
}

export interface Counts {
  devices: { all: number; online: number; disabled: number; revoked: number; stale: number }
  users: number
  groups: number
  profiles: { synced: number; sending: number; stale: number }
  sessions: number
  alerts: number
  tickets: number
  adoptions: number
  admins: number
}

/** What a node carries now; rates in bit/s as devices see them, null where nobody knows. */
export interface NodeFigures {
  sessions: number | null
  peers: number | null
  down: number | null
  up: number | null
  load: number | null
  latency_ms: number | null
  /** Down and up together, of the last samples, oldest first. */
  spark: number[]
}

export interface FleetFigures {
  sessions: number | null
  down: number | null
  up: number | null
  handshakes_per_min: number | null
  down_by: Partial<Record<"amneziawg" | "reality", number | null>>
}

export interface Figures {
  nodes: Record<string, NodeFigures>
  fleet: FleetFigures
}

export type Severity = "info" | "warning" | "critical" | (string & {})

export interface Alert extends Recorded {
  kind: string
  severity: Severity
  state: "open" | "acknowledged" | "resolved" | (string & {})
  /** Of the record that it is about, if it is about one, and its id. */
  noun: string
  subject: string
  text: string
  evidence: Record<string, string | number>
  opened_at: string
  acknowledged_at: string | null
  acknowledged_by: string | null
  resolved_at: string | null
}

export interface Snapshot {
  fleet: { id: string; name?: string; posture: string; revision: number; epoch?: number }
  version: string
  started_at: string
  beacon_warning: string | null
  nodes: Node[]
  relays: Relay[]
  events: FleetEvent[]
  alerts: Alert[]
  counts: Counts
  figures: Figures
}

/** One change of one record, with the record as it is now; null once it is gone. */
export interface Delta {
  seq: number
  at: string
  kind: string
  noun: string
  id: string
  version: number | null
  record: Record<string, unknown> | null
  actor: string
  detail: string
}

export interface ViewOrder {
  ids: string[]
  total: number
  facets: Record<string, Record<string, number>>
  sequence: number
}

export interface DeviceRow {
  id: string
  version: number
  name: string
  state: string
  status: "online" | "offline" | "sending" | "stale" | "disabled" | "expired" | "revoked" | (string & {})
  user: { id: string; name: string } | null
  exported: boolean
  node: { id: string; name: string } | null
  protocol: "amneziawg" | "reality" | null
  last_handshake_at: string | null
  /** REALITY holds a stream open instead of shaking hands again. */
  stream: boolean
  address4: string
  address6: string
  endpoint: string | null
  profile: { revision: number; wanted: number; state: "synced" | "sending" | "stale" | "none"; since: string | null } | null
  used_bytes: number | null
  quota_bytes: number | null
  rate_limit: number | null
  expires_at: string | null
  created_at: string
  down: number | null
  up: number | null
  note: string
}

export interface UserRow {
  id: string
  version: number
  name: string
  email: string | null
  state: string
  status: "active" | "disabled" | "expired" | (string & {})
  groups: { id: string; name: string }[]
  devices: number
  online: number
  device_limit: number | null
  used_bytes: number | null
  quota_bytes: number | null
  quota_period: string
  quota_action: string
  expires_at: string | null
  passphrase_set: boolean
  created_at: string
  note: string
}

export interface SessionRow {
  id: string
  device: { id: string; name: string }
  user: { id: string; name: string } | null
  node: { id: string; name: string }
  protocol: "amneziawg" | "reality" | null
  endpoint: string
  opened_at: string
  seen_at: string
  ended_at: string | null
  reason: string
  live: boolean
  down: number | null
  up: number | null
  bytes: number | null
}

export interface ProfileRow {
  id: string
  device: { id: string; name: string }
  user: { id: string; name: string } | null
  revision: number
  wanted: number
  epoch: number
  state: "synced" | "sending" | "stale" | "none" | (string & {})
  made_at: string | null
  fetched_at: string | null
  size: number | null
  nodes: number
  protocols: string[]
}

/** One metric over a time; a value is null where nobody looked. */
export interface Chart {
  metric: string
  unit: string
  since: string
  /** Seconds. */
  step: number
  values: (number | null)[]
  low: (number | null)[]
  high: (number | null)[]
  gaps: { since: string; until: string }[]
  total: number | null
  unseen: number | null
}

/** An event of the history; its time is the node's own. */
export interface PastEvent {
  id: string
  at: string
  kind: string
  node: string | null
  device: string | null
  name: string | null
  protocol: "amneziawg" | "reality" | null
  text: string
}

/** What `GET /alerts/{id}` says beyond the record. */
export interface AlertSeen extends Alert {
  muted_until: string | null
  deliveries: {
    target: string
    what: "raised" | "worsened" | "resolved" | (string & {})
    outcome: "waiting" | "sent" | "muted" | "given_up" | (string & {})
    attempts: number
    queued_at: string
    done_at: string | null
    error: string | null
  }[]
}

/** Where alerts are delivered to; its URL is shown to nobody again. */
export interface AlertTarget extends Recorded {
  name: string
  /** The scheme of its URL. */
  service: string
  minimum: Severity
  /** Empty: every kind. */
  kinds: string[]
  enabled: boolean
  waiting: number
  waiting_since: string | null
  next_try_at: string | null
  last_error: string | null
  delivered_at: string | null
}

export interface AlertMute extends Recorded {
  /** `all`: every kind. */
  kind: string
  /** Empty: whatever it is about. */
  subject: string
  until_at: string
  note: string
}
