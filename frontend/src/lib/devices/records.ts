import type { Recorded } from "$lib/api/types"

export interface Named {
  id: string
  name: string
}

export interface DeviceRecord extends Recorded {
  name: string
  user_id: string | null
  user: (Named & { state: string }) | null
  state: "active" | "disabled" | "revoked" | (string & {})
  note: string
  address4: string
  address6: string
  expires_at: string | null
  quota_bytes: number | null
  rate_limit: number | null
  exported: boolean
  outdated_at: string | null
  /** What the device shows, too; null where its keys were made for another app. */
  safety_words: string | null
  /** Public keys by use, hexadecimal. */
  keys: Record<"sealing" | "derive" | "noise" | "awg", string>
  certificates: { id: string; state: string }[]
}

export interface CertificateRecord extends Recorded {
  subject: string
  serial: string
  state: string
  not_before_at: string
  not_after_at: string
}

/** As `GET /sessions` has it; times are the node's own. */
export interface SessionRecord {
  id: string
  node_id: string
  device_id: string
  opened_at: string
  seen_at: string
  ended_at: string | null
  reason: string
  endpoint: string
  protocol: "amneziawg" | "reality" | null
  live: boolean
}

/** As `GET /events` has it. */
export interface PastEvent {
  id: string
  at: string
  kind: string
  node: string | null
  device: string | null
  text: string
}

export interface TicketRecord extends Recorded {
  device_name: string
  user_id: string | null
  expires_at: string
  used_at: string | null
  device_id: string | null
  withdrawn_at: string | null
  state: "open" | "used" | "withdrawn" | "expired" | (string & {})
}
