import { beforeEach, describe, expect, it } from "vitest"
import type { Delta, Node, Snapshot } from "$lib/api/types"
import { fleet } from "./fleet.svelte"

const node = (id: string, more: Partial<Node> = {}): Node => ({
  id, version: 1, name: id, address: "192.0.2.1", state: "active", link: "up", since: "2026-07-12T14:00:00Z", detail: null,
  unreachable: false, clock_skew_ms: 0, agent_version: "0.1.0", certificate_ends_at: null, last_word_at: null, place: "",
  latitude: null, longitude: null, note: "", control_port: 7443, awg_port: 443, tags: [], engines: [], machine: null,
  applied_revision: 1, desired_revision: 1, peers: 0, ...more,
})
const picture = (nodes: Node[]): Snapshot => ({
  fleet: { id: "f", posture: "personal", revision: 1 }, version: "0.1.0", started_at: "2026-07-12T14:00:00Z", beacon_warning: null,
  nodes, relays: [], events: [], alerts: [], counts: null as never,
  figures: { nodes: {}, fleet: { sessions: 0, down: null, up: null, handshakes_per_min: null, down_by: {} } },
})
const delta = (id: string, version: number, record: Record<string, unknown> | null): Delta => ({
  seq: version, at: "2026-07-12T14:00:00Z", kind: "node_changed", noun: "node", id, version, record, actor: "ada", detail: "",
})
const event = (sequence: number, kind: string, of: string, text = "") => ({
  sequence, at: "2026-07-12T14:01:00Z", kind, node: of, device: null, text,
})

beforeEach(() => {
  // What waits for the next frame of the test before.
  fleet.applyEvents([])
  fleet.show(picture([node("a"), node("b")]))
})

describe("the picture", () => {
  it("takes a change with what is seen of the node kept", () => {
    fleet.applyDelta(delta("a", 2, { id: "a", name: "harbour", version: 2 }))
    expect(fleet.nodes.get("a")).toMatchObject({ name: "harbour", link: "up", applied_revision: 1 })
  })
  it("drops a change that is older than what it has", () => {
    fleet.applyDelta(delta("a", 3, { id: "a", name: "new", version: 3 }))
    fleet.applyDelta(delta("a", 2, { id: "a", name: "old", version: 2 }))
    expect(fleet.nodes.get("a")?.name).toBe("new")
  })
  it("takes in a node that was added, as one that is dialled, and lets go of one that was removed", () => {
    fleet.applyDelta(delta("c", 1, { id: "c", name: "mole", version: 1, state: "active" }))
    fleet.applyDelta(delta("b", 2, null))
    expect([...fleet.nodes.keys()]).toEqual(["a", "c"])
    expect(fleet.nodes.get("c")).toMatchObject({ name: "mole", link: "connecting", engines: [] })
  })
  it("hears of links by events", () => {
    fleet.applyEvents([event(1, "link_lost", "a", "a: timed out")])
    expect(fleet.nodes.get("a")).toMatchObject({ link: "lost", detail: "timed out", since: "2026-07-12T14:01:00Z" })
    fleet.applyEvents([event(2, "unreachable", "a"), event(3, "link_up", "a")])
    expect(fleet.nodes.get("a")).toMatchObject({ link: "up", unreachable: false })
    expect(fleet.events.map((one) => one.sequence)).toEqual([3, 2, 1])
  })
  it("shows once what is in the picture and comes behind it, too", () => {
    fleet.show({ ...picture([node("a")]), events: [event(7, "link_up", "a")] })
    fleet.applyEvents([event(7, "link_up", "a"), event(8, "link_lost", "a")])
    fleet.applyDelta(delta("a", 2, { id: "a", version: 2 }))
    fleet.applyDelta(delta("a", 3, { id: "a", version: 3 }))
    fleet.applyEvents([])
    expect(fleet.events.map((one) => one.kind)).toEqual(["node_changed", "node_changed", "link_lost", "link_up"])
    expect(new Set(fleet.events.map((one) => one.sequence)).size).toBe(4)
  })
  it("keeps 200 events", () => {
    fleet.applyEvents(Array.from({ length: 300 }, (_, n) => event(n, "handshake", "a")))
    expect([fleet.events.length, fleet.events[0]?.sequence]).toEqual([200, 299])
  })
  it("is gone when whoever looked has left", () => {
    fleet.show({ ...picture([node("a")]), events: [event(7, "link_up", "a")] })
    fleet.applyDelta(delta("a", 2, { id: "a", version: 2 }))
    fleet.forget()
    fleet.applyEvents([])
    expect([fleet.head, fleet.nodes.size, fleet.events]).toEqual([null, 0, []])
  })
  it("tells those who listen, until they leave", () => {
    const heard: string[] = []
    const end = fleet.onDelta("user", (one) => heard.push(one.id))
    fleet.applyDelta({ ...delta("u", 1, {}), noun: "user" })
    end()
    fleet.applyDelta({ ...delta("v", 1, {}), noun: "user" })
    expect(heard).toEqual(["u"])
  })
})
