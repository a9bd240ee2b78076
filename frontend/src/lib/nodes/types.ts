import type { Node, Relay } from "$lib/api/types"

/** `GET /nodes/{id}`: the whole record, with what is seen of the node. */
export interface NodeRecord extends Node {
  spare_ports: number[]
  awg_key: string
  derive_key: string
  awg_parameters: Record<string, string | number | boolean>
  reality: RealityParameters | null
  /** What the node derived of the generation in use; null until it has said it. */
  reality_key: string | null
  reality_port: number | null
  /** Since when the parameters in use are, by protocol. */
  parameters_since?: Partial<Record<"amneziawg" | "reality", string>>
  /** Replaced, and still served on a spare port to devices that have not heard of the new ones. */
  previous_parameters: { port: number; until: string; devices: number; protocols: string[] }[]
  certificates: { id: string; state: string }[]
  ssh_destination: string
  ssh_host_key: string
  created_at: string
  updated_at: string
  updated_by: string
}

export interface RealityParameters {
  target: string
  server_names: string[]
  short_ids: string[]
  generation: number
}

/** `GET /relays/{id}`. */
export interface RelayRecord extends Relay {
  certificates: { id: string; state: string }[]
  ssh_destination: string
  ssh_host_key: string
  created_at: string
  updated_at: string
  updated_by: string
}

export interface Certificate {
  id: string
  role: string
  subject: string
  serial: string
  spki: string
  state: "active" | "superseded" | "revoked" | (string & {})
  not_before_at: string
  not_after_at: string
}

export interface PolicySettings {
  internet: boolean
  peer_to_peer: boolean
  closed: string[]
  resolvers: string[]
}

export interface PolicyShown {
  settings: PolicySettings
  /** As nft lists them. */
  rules: string
  /** Why the rules are those of a machine as the package sets it up; null: by the node's own word. */
  assumed: string | null
}

export interface TargetReport {
  target: string
  server_names: string[]
  /** Name of the node that looked; null: helm's machine. */
  node: string | null
  usable: boolean
  address: string | null
  round_trip_ms: number | null
  findings: { check: string; verdict: "good" | "note" | "warning" | "forbids"; name: string | null; text: string }[]
}

export interface UpgradeRun {
  id: string
  state: "running" | "done" | "failed" | "stopped" | (string & {})
  text: string | null
  members: string[]
  started_by: string
  dry_run: boolean
  events: UpgradeEvent[]
}

export interface UpgradeEvent {
  number: number
  event: "begun" | "progress" | "done" | "failed" | "member_ended" | "ended" | (string & {})
  member?: string
  step?: string
  says?: string
  done?: number
  total?: number
  seconds?: number
  outcome?: string
  outcomes?: Record<string, string>
}
