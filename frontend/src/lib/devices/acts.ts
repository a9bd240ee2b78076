import { api, newKey } from "$lib/api/client"
import { t } from "$lib/i18n/index.svelte"
import { edits } from "$lib/state/edits.svelte"
import { toasts } from "$lib/state/toasts.svelte"

interface Movable {
  id: string
  name: string
  version: number
}

type Verb = "disable" | "enable"
const STATE = { disable: "disabled", enable: "active" } as const
const STATUS = { disable: "disabled", enable: "offline" } as const

/** Keeps a device out, or lets it in again; the toast takes it back. */
export async function moveDevice(device: Movable, verb: Verb, quiet = false): Promise<Movable | null> {
  const moved = await edits.send(
    device.id,
    { state: STATE[verb], status: STATUS[verb] },
    () => api.act<Movable>(`/devices/${encodeURIComponent(device.id)}/${verb}`, device.version, { once: newKey() }),
    t(verb === "disable" ? "devices.notDisabled" : "devices.notEnabled", { name: device.name }),
  )
  if (moved && !quiet) {
    toasts.done(t(verb === "disable" ? "devices.disabledToast" : "devices.enabledToast", { name: device.name }), () =>
      void moveDevice(moved, verb === "disable" ? "enable" : "disable", true),
    )
  }
  return moved
}

/** The same with many, one after the other; what failed has said so itself. */
export async function moveDevices(devices: readonly Movable[], verb: Verb): Promise<void> {
  const moved: Movable[] = []
  for (const device of devices) {
    const one = await moveDevice(device, verb, true)
    if (one) moved.push(one)
  }
  if (!moved.length) return
  const text = t(verb === "disable" ? "devices.disabledMany" : "devices.enabledMany", { n: moved.length })
  toasts.done(text, async () => {
    for (const device of moved) await moveDevice(device, verb === "disable" ? "enable" : "disable", true)
  })
}

/** For ever. Throws ApiError. */
export const revokeDevice = (device: Movable): Promise<Movable> =>
  api.act<Movable>(`/devices/${encodeURIComponent(device.id)}/revoke`, device.version, { once: newKey() })
