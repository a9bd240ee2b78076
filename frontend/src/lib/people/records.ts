import type { Recorded } from "$lib/api/types"

export interface UserRecord extends Recorded {
  name: string
  email: string | null
  state: "active" | "disabled" | (string & {})
  note: string
  expires_at: string | null
  device_limit: number | null
  quota_bytes: number | null
  quota_period: string
  quota_action: string
  groups: { id: string; name: string }[]
  passphrase_set: boolean
}

export interface GroupRecord extends Recorded {
  name: string
  note: string
  /** Nodes with one of these tags; empty: every node. */
  node_tags: string[]
  protocols: string[]
  /** Every user is a member, whoever is listed. */
  everybody: boolean
  /** Ids of those who are listed; with one group alone. */
  members?: string[]
}

export const PERIODS = ["never", "day", "week", "month"] as const
export const ACTIONS = ["warn", "throttle", "cut"] as const
export const PROTOCOLS = ["amneziawg", "reality"] as const
