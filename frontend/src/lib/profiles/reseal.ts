import { api, newKey } from "$lib/api/client"
import { t } from "$lib/i18n/index.svelte"
import { toasts } from "$lib/state/toasts.svelte"

/** Has a profile sealed anew though nothing in it changed, or everybody's. Returns whether it was ordered. */
export async function reseal(device: { id: string; name: string } | null): Promise<boolean> {
  try {
    const { profiles } = await api.post<{ profiles: number }>("/profiles/reseal", device ? { device: device.id } : {}, { once: newKey() })
    toasts.done(device ? t("profiles.resealed", { name: device.name }) : t("profiles.resealedAll", { n: profiles }))
    return true
  } catch (error) {
    toasts.fail(error, t("profiles.notResealed"))
    return false
  }
}
