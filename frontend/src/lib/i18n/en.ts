import common from "./en/common.json"
import frame from "./en/frame.json"
import status from "./en/status.json"
import errors from "./en/errors.json"
import overview from "./en/overview.json"
import events from "./en/events.json"
import chart from "./en/chart.json"
import door from "./en/door.json"
import merge from "./en/merge.json"
import proof from "./en/proof.json"
import type rest from "./en-rest"

/** What the frame, the door and the overview say: the first load. ICU MessageFormat; keys begin with their area's name. */
const en = {
  ...common,
  ...frame,
  ...status,
  ...errors,
  ...overview,
  ...events,
  ...chart,
  ...door,
  ...merge,
  ...proof,
} as const

export type Key = keyof typeof en | keyof typeof rest
export default en as Partial<Record<Key, string>>
