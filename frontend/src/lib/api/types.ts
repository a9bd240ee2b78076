/** The JSON of `GET /api/v1/status`. Times are RFC 3339; an id is a node's, a relay's or a device's. */
export interface Status {
  fleet: { id: string; posture: string }
  version: string
  /** When this helm process started. */
  started_at: string
  nodes: Node[]
  relays: Relay[]
  devices: Device[]
  /** The newest events helm still holds, in any order. */
  events: FleetEvent[]
}

/**
 * State of the connection which helm dialled. `lost` is redialled, `refused` is not; `crashed` is a fault in
 * helm itself, tried again after a while. Newer helms may add words.
 */
export type Link = "up" | "lost" | "refused" | "crashed" | "connecting" | (string & {})

interface Linked {
  id: string
  name: string
  /** Host name or IP address that helm dials. */
  address: string
  link: Link
  /** Since when the link is in this state. */
  since: string
  /** Why the link is not up. */
  detail: string | null
  /** Not heard of for 45 seconds, the sleep of helm's own machine left out. */
  unreachable: boolean
  /** Milliseconds by which its clock is ahead of helm's, as last seen; of relays always 0. */
  clock_skew_ms: number
}

/** What carries one protocol at a node. */
export interface Engine {
  protocol: "amneziawg" | "vless-reality" | "network" | (string & {})
  driver: string
  /** What keeps it from being what was ordered; null: it is that. */
  trouble: string | null
}

/** How a node's machine is; 0 is not known. */
export interface Machine {
  load: number
  memory_bytes: number
  memory_available_bytes: number
  disk_bytes: number
  disk_free_bytes: number
}

export interface Node extends Linked {
  /** Not there from a helm of an earlier version. */
  engines?: Engine[]
  machine?: Machine | null
  state: "active" | "joining" | "draining" | "disabled" | "revoked" | (string & {})
  control_port: number
  tags: string[]
  /** Revision of the settings which the node has acknowledged, and the one it should have. */
  applied_revision: number
  desired_revision: number
  peers: number
  /** UDP port of AmneziaWG. */
  awg_port: number
}

export interface Relay extends Linked {
  ingress_port: number
  tunnel_port: number
  /** Open end-to-end sessions between devices and helm through this relay. */
  passages: number
}

export interface Device {
  id: string
  name: string
  state: "active" | "disabled" | "revoked" | (string & {})
  created_at: string
  last_handshake_at: string | null
  /** Id of the node that saw the last handshake. */
  node: string | null
}

export interface FleetEvent {
  /** Rises by at least one from event to event while helm runs. */
  sequence: number
  at: string
  kind: string
  /** Id of a node or a relay. */
  node: string | null
  device: string | null
  /** helm's own words; may be empty. */
  text: string
}
