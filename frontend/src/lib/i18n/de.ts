import common from "./de/common.json"
import frame from "./de/frame.json"
import status from "./de/status.json"
import overview from "./de/overview.json"
import nodes from "./de/nodes.json"
import relays from "./de/relays.json"
import wizard from "./de/wizard.json"
import people from "./de/people.json"
import devices from "./de/devices.json"
import profiles from "./de/profiles.json"
import sessions from "./de/sessions.json"
import alerts from "./de/alerts.json"
import audit from "./de/audit.json"
import certificates from "./de/certificates.json"
import admins from "./de/admins.json"
import settings from "./de/settings.json"
import account from "./de/account.json"
import door from "./de/door.json"
import recovery from "./de/recovery.json"
import events from "./de/events.json"
import errors from "./de/errors.json"
import chart from "./de/chart.json"
import merge from "./de/merge.json"
import proof from "./de/proof.json"
import type { Key } from "./en"

/** A text that German lacks is a type error here. */
const de: Record<Key, string> = {
  ...common,
  ...frame,
  ...status,
  ...overview,
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
  ...door,
  ...recovery,
  ...events,
  ...errors,
  ...chart,
  ...merge,
  ...proof,
}

export default de
