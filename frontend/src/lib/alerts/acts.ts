/** What is done about alerts, from their page and the overview alike. */
import { api } from "$lib/api/client"
import type { Alert } from "$lib/api/types"
import { t, type Key } from "$lib/i18n/index.svelte"
import { edits } from "$lib/state/edits.svelte"
import { fleet } from "$lib/state/fleet.svelte"
import { toasts } from "$lib/state/toasts.svelte"

export type Verb = "acknowledge" | "resolve" | "reopen"

const BECOMES: Record<Verb, string> = { acknowledge: "acknowledged", resolve: "resolved", reopen: "open" }

/** Which acts a state allows, the likeliest first. */
export function verbsOf({ state }: Alert): Verb[] {
  return state === "open" ? ["acknowledge", "resolve"] : state === "acknowledged" ? ["resolve", "reopen"] : []
}

/** Does it at once, and says so with the way back where there is one. */
export async function moveAlert(alert: Alert, verb: Verb): Promise<Alert | null> {
  const version = Math.max(alert.version, fleet.alerts.get(alert.id)?.version ?? 0)
  const moved = await edits.send(alert.id, { state: BECOMES[verb] }, () => api.act<Alert>(`/alerts/${alert.id}/${verb}`, version))
  if (!moved) return null
  if (moved.state === "resolved") fleet.alerts.delete(moved.id)
  else fleet.alerts.set(moved.id, moved)
  toasts.done(t(`alerts.did.${verb}` as Key), verb === "acknowledge" ? () => void moveAlert(moved, "reopen") : undefined)
  return moved
}
