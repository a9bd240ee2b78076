import { describe, expect, it } from "vitest"
import { device, node, relay } from "../../../dev/fleets.ts"
import type { Node } from "$lib/api/types"
import { deviceMark, HANDSHAKE_LIFE, nodeMark, relayMark } from "./status"

const NOW = Date.parse("2026-07-12T14:02:11Z")

describe("a node", () => {
  it.each<[string, Partial<Node>]>([
    ["Healthy", {}],
    ["Sending", { applied_revision: 11 }],
    ["No answer", { link: "lost" }],
    ["Refused", { link: "refused" }],
    ["Fault", { link: "crashed" }],
    ["Connecting", { link: "connecting" }],
    ["No answer", { link: "connecting", unreachable: true }],
    ["Wrong clock", { clock_skew_ms: -400_000 }],
    ["Healthy", { clock_skew_ms: 200_000 }],
    ["Healthy", { engines: [{ protocol: "amneziawg", driver: "userspace", trouble: null }] }],
    ["Engine trouble", { engines: [{ protocol: "amneziawg", driver: "userspace", trouble: "it is away" }] }],
    ["No answer", { link: "lost", clock_skew_ms: 400_000 }],
    ["Joining", { state: "joining", link: "connecting" }],
    ["Draining", { state: "draining" }],
    ["No answer", { state: "draining", link: "lost" }],
    ["Disabled", { state: "disabled", link: "lost" }],
    ["Revoked", { state: "revoked", link: "refused" }],
  ])("is %s with %o", (word, facts) => expect(nodeMark(node(NOW, "a", facts)).word).toBe(word))

  it.each<Partial<Node>>([{ link: "sleeping" }, { state: "quarantined" }])(
    "with a word from a newer helm, %o, is never shown as healthy",
    (facts) => expect(nodeMark(node(NOW, "a", facts)).shape).toBe("off"),
  )
})

describe("a relay", () => {
  it.each([
    ["up", "ok"],
    ["lost", "bad"],
    ["refused", "bad"],
    ["connecting", "pending"],
    ["sleeping", "off"],
  ])("whose link is %s has the shape %s", (link, shape) => expect(relayMark(relay(NOW, "a", { link })).shape).toBe(shape))
})

describe("a device", () => {
  it("is online while its handshake lives", () => {
    expect(deviceMark(device(NOW, "a", HANDSHAKE_LIFE - 1), NOW).word).toBe("Online")
    expect(deviceMark(device(NOW, "a", HANDSHAKE_LIFE), NOW).word).toBe("Offline")
  })
  it("is offline before its first handshake", () => expect(deviceMark(device(NOW, "a", null), NOW).word).toBe("Offline"))
  it("is revoked even with a live handshake", () =>
    expect(deviceMark(device(NOW, "a", 1_000, { state: "revoked" }), NOW).word).toBe("Revoked"))
})
