import { describe, expect, it } from "vitest"
import type { Node, Relay } from "$lib/api/types"
import { project } from "$lib/components/map/projection"
import { behind, compareVersions, fits, memoryShare, neighbours, refusals, tally, throughput, tunnels, versions } from "./facts"
import { isDestination, lines, port, ports, spot, spotAt, spotText, words } from "./fields"
import { compareLines } from "./rules"

const node = (name: string, more: Partial<Node> = {}): Node => ({
  id: name,
  version: 1,
  name,
  address: "192.0.2.1",
  state: "active",
  link: "up",
  since: "2026-11-26T10:00:00Z",
  detail: null,
  unreachable: false,
  clock_skew_ms: 0,
  agent_version: "1.0.3",
  certificate_ends_at: null,
  last_word_at: null,
  place: "Frankfurt",
  latitude: null,
  longitude: null,
  note: "",
  control_port: 7443,
  awg_port: 443,
  tags: ["eu"],
  engines: [
    { protocol: "vless-reality", driver: "xray", trouble: null },
    { protocol: "amneziawg", driver: "kernel", trouble: null },
    { protocol: "network", driver: "nftables", trouble: null },
  ],
  machine: null,
  applied_revision: 4,
  desired_revision: 4,
  peers: 0,
  ...more,
})

describe("filters", () => {
  const one = node("fra-1", { note: "rack 4" })
  const fit = (q: string, named: Record<string, string> = {}) => fits(one, { q, named })

  it("look for every word in name, place, address, note and tags", () => {
    expect(fit("fra rack")).toBe(true)
    expect(fit("192.0.2 EU")).toBe(true)
    expect(fit("fra tokyo")).toBe(false)
    expect(fit("")).toBe(true)
  })

  it("by name compare status, tag, protocol, version and place", () => {
    expect(fit("", { status: "healthy", tag: "eu", protocol: "reality", version: "1.0.3", place: "frank" })).toBe(true)
    expect(fit("", { status: "draining" })).toBe(false)
    expect(fit("", { tag: "e" })).toBe(false)
    expect(fit("", { protocol: "network" })).toBe(false)
  })
})

describe("versions", () => {
  it("are counted with the newest first and the unknown last", () => {
    const all = [node("b", { agent_version: "1.0.9" }), node("a", { agent_version: "1.0.10" }), node("c", { agent_version: null })]
    expect(versions(all).map((one) => one.version)).toEqual(["1.0.10", "1.0.9", ""])
  })

  it("compare by numbers, and a candidate is before its release", () => {
    expect(compareVersions("1.0.10", "1.0.9")).toBeGreaterThan(0)
    expect(compareVersions("1.0rc1", "1.0")).toBeLessThan(0)
    expect(compareVersions("1.0.1", "1.0")).toBeGreaterThan(0)
    expect(compareVersions("1.0+git1", "1.0")).toBe(0)
  })

  it("say who is behind helm, and never the revoked or the silent", () => {
    const all = [
      node("old", { agent_version: "1.0.2" }),
      node("same"),
      node("newer", { agent_version: "1.1" }),
      node("gone", { agent_version: "1.0.2", state: "revoked" }),
      node("silent", { agent_version: null }),
    ]
    expect(behind(all, "1.0.3").map((one) => one.name)).toEqual(["old"])
  })
})

describe("figures", () => {
  it("are none where nobody knows", () => {
    expect(throughput(undefined)).toBeNull()
    expect(throughput({ sessions: 1, peers: 1, down: null, up: null, load: null, latency_ms: null, spark: [] })).toBeNull()
    expect(throughput({ sessions: 1, peers: 1, down: 5, up: null, load: null, latency_ms: null, spark: [] })).toBe(5)
    expect(memoryShare(null)).toBeNull()
  })

  it("take what is available off the memory", () => {
    const machine = { load: 1, load5: 1, processors: 2, memory_bytes: 100, memory_available_bytes: 25, disk_bytes: null, disk_free_bytes: null }
    expect(memoryShare(machine)).toBe(0.75)
  })

  it("leave the network's rules out of the engines", () => {
    expect(tunnels(node("a").engines).map((engine) => engine.protocol)).toEqual(["amneziawg", "vless-reality"])
  })

  it("tally the most frequent first", () => {
    expect(tally(["a", "b", "b", ""])).toEqual([
      { value: "b", count: 2 },
      { value: "a", count: 1 },
    ])
  })
})

describe("neighbours", () => {
  it("go round in the order of names, numbers as numbers", () => {
    const all = [node("fra-10"), node("fra-2"), node("ams-1")]
    expect(neighbours(all, "fra-10")).toMatchObject({ before: { name: "fra-2" }, after: { name: "ams-1" } })
    expect(neighbours([node("only")], "only")).toBeNull()
    expect(neighbours(all, "stranger")).toBeNull()
  })
})

describe("refusals", () => {
  it("are told by reason, the most frequent first, with the newest time that is known", () => {
    const relay = { id: "gate", refusals: { "the session broke": 1, "the handshake failed": 7 } } as unknown as Relay
    const events = [
      { node: "other", kind: "passage_refused", text: "the handshake failed", at: "3" },
      { node: "gate", kind: "passage_refused", text: "the handshake failed", at: "2" },
      { node: "gate", kind: "passage_refused", text: "the handshake failed", at: "1" },
      { node: "gate", kind: "link_up", text: "the session broke", at: "0" },
    ]
    expect(refusals(relay, events)).toEqual([
      { reason: "the handshake failed", times: 7, at: "2" },
      { reason: "the session broke", times: 1, at: null },
    ])
  })

  it("are none of a helm that does not tell", () => {
    expect(refusals({ id: "gate" } as Relay, [])).toEqual([])
  })
})

describe("fields", () => {
  it("take coordinates as maps copy them", () => {
    expect(spot("52.37, 4.90")).toEqual({ latitude: 52.37, longitude: 4.9 })
    expect(spot("33.87° S, 151.21° E")).toEqual({ latitude: -33.87, longitude: 151.21 })
    expect(spot("-23.55 -46.63")).toEqual({ latitude: -23.55, longitude: -46.63 })
    expect(spot("  ")).toEqual({ latitude: null, longitude: null })
    expect(spot("91, 0")).toBeNull()
    expect(spot("52.37")).toBeNull()
    expect(spotText({ latitude: 52.37, longitude: 4.9 })).toBe("52.37, 4.9")
    expect(spotText({ latitude: null, longitude: null })).toBe("")
  })

  it("find a point of the map again", () => {
    for (const [latitude, longitude] of [[52.4, 4.9], [-33.9, 151.2], [40.7, -74], [64, -175]] as const) {
      const { x, y } = project(latitude, longitude)
      expect(spotAt(x, y)).toEqual({ latitude, longitude })
    }
  })

  it("take ports and lists", () => {
    expect(port("443")).toBe(443)
    expect(port("0")).toBeNull()
    expect(port("70000")).toBeNull()
    expect(port("4x")).toBeNull()
    expect(ports("2053, 8443")).toEqual([2053, 8443])
    expect(ports("2053 x")).toBeNull()
    expect(ports("")).toEqual([])
    expect(words("eu, fast eu")).toEqual(["eu", "fast"])
    expect(lines("10.0.0.0/8\n\n 192.168.0.0/16 ")).toEqual(["10.0.0.0/8", "192.168.0.0/16"])
  })

  it("know a way to a machine from other words", () => {
    for (const good of ["root@203.0.113.10", "gate.example.org", "admin@[2001:db8::1]:2222", "2001:db8::1", "host:22"])
      expect(isDestination(good), good).toBe(true)
    for (const bad of ["", "root@", "a b", "ssh://host", "host:port"]) expect(isDestination(bad), bad).toBe(false)
  })
})

describe("rules", () => {
  it("mark what left before what came", () => {
    expect(compareLines("a\nb\nc\n", "a\nB\nc\n")).toEqual([
      { text: "a", kind: "same" },
      { text: "b", kind: "removed" },
      { text: "B", kind: "added" },
      { text: "c", kind: "same" },
    ])
  })

  it("are all the same where nothing changed", () => {
    expect(compareLines("a\nb", "a\nb").every((line) => line.kind === "same")).toBe(true)
  })

  it("append and drop at the ends", () => {
    expect(compareLines("a", "a\nb").at(-1)).toEqual({ text: "b", kind: "added" })
    expect(compareLines("a\nb", "b")[0]).toEqual({ text: "a", kind: "removed" })
  })
})
