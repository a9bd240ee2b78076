import { api, newKey } from "$lib/api/client"
import { t } from "$lib/i18n/index.svelte"
import { toasts } from "$lib/state/toasts.svelte"

/** Has the node drop a session now; the device may come again. Returns whether it did. */
export async function endSession(id: string, device: string, node: string): Promise<boolean> {
  try {
    await api.act<void>(`/sessions/${encodeURIComponent(id)}/end`, undefined, { once: newKey() })
  } catch (error) {
    toasts.fail(error, t("sessions.notEnded", { device, node }))
    return false
  }
  toasts.done(t("sessions.ended", { device, node }))
  return true
}
