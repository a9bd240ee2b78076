import type { DeviceRow, FleetEvent } from "$lib/api/types"

/** What an event changes of a device's row at once; what it does not say is read a moment later. */
export function happened(row: DeviceRow, event: FleetEvent, nodeName: (id: string | null) => string | null): Partial<DeviceRow> | null {
  const served = !["disabled", "expired", "revoked"].includes(row.status)
  switch (event.kind) {
    case "handshake":
    case "connected": {
      const name = nodeName(event.node)
      return {
        last_handshake_at: event.at,
        ...(served ? { status: "online" } : {}),
        ...(event.node !== null && name !== null ? { node: { id: event.node, name } } : {}),
      }
    }
    case "disconnected":
      return served ? { status: row.profile?.state === "stale" ? "stale" : "offline", stream: false, down: null, up: null } : null
    default:
      return null
  }
}
