import { api, newKey } from "$lib/api/client"
import type { DeviceRow } from "$lib/api/types"
import { revokeDevice } from "$lib/devices/acts"
import { readRows } from "$lib/devices/one.svelte"
import { t } from "$lib/i18n/index.svelte"
import { edits } from "$lib/state/edits.svelte"
import { toasts } from "$lib/state/toasts.svelte"
import type { UserRecord } from "./records"

type State = "active" | "disabled"
const ROWS_AT_ONCE = 100

/** Keeps a person's devices out, or lets them in again; the toast takes it back. */
export async function moveUser(user: Pick<UserRecord, "id" | "name" | "version">, state: State, quiet = false): Promise<UserRecord | null> {
  const moved = await edits.send(
    user.id,
    { state, status: state },
    () => api.patch<UserRecord>(`/users/${encodeURIComponent(user.id)}`, { state }, user.version, { once: newKey() }),
    t(state === "disabled" ? "people.notDisabled" : "people.notEnabled", { name: user.name }),
  )
  if (moved && !quiet) {
    toasts.done(t(state === "disabled" ? "people.disabledToast" : "people.enabledToast", { name: user.name }), () =>
      void moveUser(moved, state === "disabled" ? "active" : "disabled", true),
    )
  }
  return moved
}

/** Revokes every device of a person that is not yet, then removes the person. Throws ApiError where it ends early. */
export async function removeUser(user: Pick<UserRecord, "id">, devices: readonly string[], told: (done: number) => void): Promise<void> {
  let done = 0
  for (let at = 0; at < devices.length; at += ROWS_AT_ONCE) {
    for (const row of (await readRows<DeviceRow>("devices", devices.slice(at, at + ROWS_AT_ONCE))) ?? []) {
      if (row.state !== "revoked") await revokeDevice(row)
      told((done += 1))
    }
  }
  // Whatever was changed meanwhile is no reason to keep it.
  const { version } = await api.get<UserRecord>(`/users/${encodeURIComponent(user.id)}`)
  await api.del<void>(`/users/${encodeURIComponent(user.id)}`, { version })
}
