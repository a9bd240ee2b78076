import { describe, expect, it } from "vitest"
import type { Machine, Node } from "$lib/api/types"
import { isDown, markOf, nodeMark, nodeWord, severity } from "./status"

const node = (more: Partial<Node> = {}): Node =>
  ({ state: "active", link: "up", unreachable: false, clock_skew_ms: 0, engines: [], applied_revision: 3, desired_revision: 3, ...more }) as Node

const machine = (load5: number): Machine => ({
  load: 0, load5, processors: 2, memory_bytes: null, memory_available_bytes: null, disk_bytes: null, disk_free_bytes: null,
})

describe("a node", () => {
  it.each<[string, Partial<Node>]>([
    ["healthy", {}],
    ["sending", { applied_revision: 2 }],
    ["silent", { link: "lost" }],
    ["refused", { link: "refused" }],
    ["crashed", { link: "crashed" }],
    ["connecting", { link: "connecting" }],
    ["silent", { link: "connecting", unreachable: true }],
    ["clock", { clock_skew_ms: -400_000 }],
    ["healthy", { clock_skew_ms: 200_000 }],
    ["engine", { engines: [{ protocol: "amneziawg", driver: "userspace", trouble: "it is away" }] }],
    ["busy", { machine: machine(1.8) }],
    ["healthy", { machine: machine(1.6) }],
    ["healthy", { machine: { ...machine(9), processors: null } }],
    ["joining", { state: "joining", link: "connecting" }],
    ["draining", { state: "draining" }],
    ["silent", { state: "draining", link: "lost" }],
    ["disabled", { state: "disabled", link: "lost" }],
    ["revoked", { state: "revoked", link: "refused" }],
  ])("is %s with %o", (word, facts) => expect(nodeWord(node(facts))).toBe(word))

  it.each<Partial<Node>>([{ link: "sleeping" }, { state: "quarantined" }])(
    "with a word from a newer helm, %o, is shown by that word and never as healthy",
    (facts) => expect(nodeMark(node(facts))).toEqual({ shape: "off", word: Object.values(facts)[0] }),
  )
})

it("out of service is not down", () => {
  expect([node({ link: "lost" }), node({ link: "connecting" })].map(isDown)).toEqual([true, false])
})

it("worst comes first", () =>
  expect(["healthy", "silent", "draining", "busy", "revoked"].toSorted((a, b) => severity(markOf(a)) - severity(markOf(b)))).toEqual([
    "silent", "busy", "draining", "revoked", "healthy",
  ]))
