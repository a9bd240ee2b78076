import type { Role } from "$lib/api/types"
import type { Key } from "$lib/i18n/index.svelte"

/** From the least to the most; each may all that the ones before it may. */
export const ROLES: readonly Role[] = ["viewer", "operator", "admin", "owner"]

export const includes = (role: Role, other: Role): boolean => ROLES.indexOf(role) >= ROLES.indexOf(other)

/** What takes which role (docs/guide/admins.md). */
export const DUTIES: readonly { says: Key; needs: Role }[] = [
  { says: "admins.duty.look", needs: "viewer" },
  { says: "admins.duty.people", needs: "operator" },
  { says: "admins.duty.alerts", needs: "operator" },
  { says: "admins.duty.machines", needs: "admin" },
  { says: "admins.duty.settings", needs: "admin" },
  { says: "admins.duty.audit", needs: "admin" },
  { says: "admins.duty.tokens", needs: "admin" },
  { says: "admins.duty.admins", needs: "owner" },
  { says: "admins.duty.signOn", needs: "owner" },
  { says: "admins.duty.trust", needs: "owner" },
]

/** Path segments below /api/v1 that a token can be kept to. */
export const SCOPES: readonly string[] = [
  ...["status", "live", "views", "search", "events", "charts", "metrics", "health"],
  ...["nodes", "relays", "devices", "users", "groups", "pools", "profiles", "sessions", "tickets", "logins"],
  ...["alerts", "alert-targets", "alert-mutes", "audit", "certificates", "adoptions", "onboardings", "upgrades"],
  ...["settings", "sinks", "backups", "lock", "oidc", "imports", "export", "admins", "tokens"],
]
