/** helm's JSON about who may act, and how they come in. */
import type { Recorded, Role } from "./types"

export interface Passkey extends Recorded {
  admin_id: string
  name: string
  /** The host name that it is for. */
  site: string
  /** Whether a password manager keeps copies of it. */
  synced: boolean
  used_at: string | null
}

export interface AdminSession {
  id: string
  /** link, password, passkey or oidc. */
  how: string
  /** As it names itself. */
  browser: string
  /** Fingerprint of the certificate that it is bound to; empty: none. */
  bound: string
  created_at: string
  seen_at: string
  expires_at: string
  /** The one that asks. */
  own: boolean
}

export interface Admin extends Recorded {
  name: string
  role: Role
  state: "invited" | "active" | "disabled" | (string & {})
  password_set: boolean
  totp_set: boolean
  /** Those from which the admin may use the desk; where one admin is read alone. */
  devices?: { id: string; name: string; state: string }[]
}

export interface BrowserCertificate extends Recorded {
  not_after_at: string
  subject: string
  state: string
}

export interface BrowserKey {
  id: string
  not_after_at: string
  /** Base64. */
  pkcs12: string
  password: string
  /** PEM: what helm's page shows. */
  web_certificate: string
}

export interface Token extends Recorded {
  name: string
  admin_id: string
  role: Role
  /** Path segments of nouns; none: all. */
  scopes: string[]
  state: "active" | "revoked" | (string & {})
  expires_at: string | null
  used_at: string | null
  /** Once. */
  token?: string
}
