import { describe, expect, it } from "vitest"
import { device, fleet, node, relay } from "../../../dev/fleets.ts"
import { linkSentence, needs, sentence } from "./overview"

const NOW = Date.parse("2026-07-12T14:02:11Z")
const since = (ms: number) => new Date(NOW - ms).toISOString()
const lost = { link: "lost", since: since(240_000), detail: "timed out" } as const
const refused = { link: "refused", since: since(9_000), detail: "another fleet" } as const

function said(lists: Parameters<typeof fleet>[1]) {
  const { title, detail } = sentence(fleet(NOW, lists), NOW)
  return { title, detail: detail.replaceAll("\u00a0", " ") }
}

describe("the sentence of the overview", () => {
  it("says so when all is well", () => {
    const devices = [device(NOW, "a", 1_000), device(NOW, "b", null), device(NOW, "c", 1_000, { state: "revoked" })]
    expect(said({ nodes: [node(NOW, "cellar"), node(NOW, "harbour")], devices })).toEqual({
      title: "All is well",
      detail: "Both nodes are healthy, 1 of 2 devices is connected.",
    })
  })

  it("counts and names what is wrong, and says that tunnels go on", () => {
    const nodes = [node(NOW, "cellar"), node(NOW, "harbour", lost), node(NOW, "mole", refused)]
    expect(said({ nodes })).toEqual({
      title: "1 of 3 nodes is healthy",
      detail:
        "harbour has not answered for 4 min 00 s. mole refuses helm. No device is enrolled yet. Tunnels go on without helm.",
    })
  })

  it("leaves out of the count what an admin took out of service", () => {
    const nodes = [node(NOW, "cellar"), node(NOW, "old", { state: "disabled", link: "lost" })]
    expect(said({ nodes }).title).toBe("All is well")
  })

  it("never calls a fleet well while a relay is down", () => {
    const relays = [relay(NOW, "quay"), relay(NOW, "pier", lost)]
    const { title, detail } = said({ nodes: [node(NOW, "cellar")], relays })
    expect(title).toBe("The node is healthy")
    expect(detail).toContain("1 of 2 relays does not answer.")
  })

  it("does not alarm about a node that is joining", () => {
    const { detail } = said({ nodes: [node(NOW, "jetty", { state: "joining", link: "connecting" })] })
    expect(detail).toBe("jetty is on the way. No device is enrolled yet.")
  })

  it("knows the empty fleet", () => expect(said({}).title).toBe("The fleet is empty"))
})

describe("what needs a person", () => {
  it.each(["lost", "refused", "crashed"])("has words for a link that is %s", (link) => {
    const [need] = needs(fleet(NOW, { nodes: [node(NOW, "harbour", { link, detail: "its cause" })] }))
    expect(need?.title).toContain("harbour")
    expect(need?.detail).toContain(": its cause.")
  })

  it("is sorted worst first: refused, then the longest silent", () => {
    const status = fleet(NOW, {
      nodes: [node(NOW, "a", { ...lost, since: since(60_000) }), node(NOW, "b", refused), node(NOW, "c", lost)],
      relays: [relay(NOW, "d", { ...lost, since: since(120_000) })],
    })
    expect(needs(status).map((need) => need.id)).toEqual(["node-b", "node-c", "relay-d", "node-a"])
  })

  it("says why and what happens next", () => {
    expect(needs(fleet(NOW, { nodes: [node(NOW, "harbour", lost)] }))[0]).toMatchObject({
      title: "harbour does not answer",
      detail: "helm goes on dialling: timed out.",
    })
  })

  it("is nothing for what is on its way or out of service", () => {
    const nodes = [node(NOW, "a", { link: "connecting" }), node(NOW, "b", { state: "revoked", link: "refused" })]
    expect(needs(fleet(NOW, { nodes }))).toEqual([])
  })
})

it("a link that went silent says for how long and why", () => {
  expect(linkSentence(node(NOW, "a", lost), NOW).replaceAll("\u00a0", " ")).toBe("No answer for 4 min 00 s: timed out")
})
