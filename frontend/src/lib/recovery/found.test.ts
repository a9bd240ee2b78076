import { expect, it } from "vitest"
import { byDevice } from "./found"

const row = (id: string, device_id: string, node_id: string) => ({
  id, version: 1, created_at: "2026-07-12T14:02:11Z", node_id, device_id, peer: { address4: "10.61.0.7", awg_key: "ab" }, state: "waiting" as const,
})

it("shows a device once, with all the nodes that have it", () =>
  expect(byDevice([row("1", "d", "a"), row("2", "e", "a"), row("3", "d", "b")]).map((one) => [one.id, one.device_id, one.nodes, one.address])).toEqual([
    ["1", "d", ["a", "b"], "10.61.0.7"],
    ["2", "e", ["a"], "10.61.0.7"],
  ]))
