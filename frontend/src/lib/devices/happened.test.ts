import { describe, expect, it } from "vitest"
import type { DeviceRow, FleetEvent } from "$lib/api/types"
import { happened } from "./happened"

const AT = "2026-07-12T14:02:11Z"
const row = (facts: Partial<DeviceRow> = {}): DeviceRow =>
  ({ id: "d", name: "mbp", status: "offline", node: null, profile: null, ...facts }) as DeviceRow
const event = (kind: string): FleetEvent => ({ sequence: 1, at: AT, kind, node: "n", device: "d", text: "" })
const named = (id: string | null) => (id === "n" ? "fra-1" : null)

describe("what an event changes of a row", () => {
  it("brings a device online at its node", () => {
    expect(happened(row(), event("handshake"), named)).toEqual({
      last_handshake_at: AT,
      status: "online",
      node: { id: "n", name: "fra-1" },
    })
  })

  it("never shows one that is kept out as online", () => {
    expect(happened(row({ status: "revoked" }), event("handshake"), named)).not.toHaveProperty("status")
    expect(happened(row({ status: "disabled" }), event("disconnected"), named)).toBeNull()
  })

  it("says stale rather than offline where somebody should look", () => {
    const profile = { revision: 1, wanted: 2, state: "stale", since: AT } as const
    expect(happened(row({ status: "online", profile }), event("disconnected"), named)?.status).toBe("stale")
    expect(happened(row({ status: "online" }), event("disconnected"), named)?.status).toBe("offline")
  })

  it("leaves a row alone for what it does not know", () => {
    expect(happened(row(), event("something_new"), named)).toBeNull()
  })
})
