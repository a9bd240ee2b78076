import nodes from "./en/nodes.json"
import relays from "./en/relays.json"
import wizard from "./en/wizard.json"
import people from "./en/people.json"
import devices from "./en/devices.json"
import profiles from "./en/profiles.json"
import sessions from "./en/sessions.json"
import alerts from "./en/alerts.json"
import audit from "./en/audit.json"
import certificates from "./en/certificates.json"
import admins from "./en/admins.json"
import settings from "./en/settings.json"
import account from "./en/account.json"
import recovery from "./en/recovery.json"

/** What every other page says; it comes behind the first paint. */
export default {
  ...nodes,
  ...relays,
  ...wizard,
  ...people,
  ...devices,
  ...profiles,
  ...sessions,
  ...alerts,
  ...audit,
  ...certificates,
  ...admins,
  ...settings,
  ...account,
  ...recovery,
} as const
