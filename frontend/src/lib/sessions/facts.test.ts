import { describe, expect, it } from "vitest"
import type { FleetFigures } from "$lib/api/types"
import { endedWord, sentence } from "./facts"

const node = (name: string, sessions: number | null | undefined) => ({
  name,
  figures: sessions === undefined ? undefined : { sessions },
})
const total = (sessions: number | null, rates: Partial<FleetFigures> = {}): FleetFigures => ({
  sessions,
  down: null,
  up: null,
  handshakes_per_min: null,
  down_by: {},
  ...rates,
})

describe("the sentence about sessions", () => {
  it("says how many, and where most of them are", () => {
    const nodes = [node("ams-1", 2), node("fra-1", 486), node("lon-1", 40), node("sin-1", 9), node("tyo-1", 1)]
    const { title, detail } = sentence(total(538, { down: 1_000_000, up: 2_000_000 }), nodes)
    expect(title).toBe("538 sessions on 5 nodes")
    expect(detail).toContain("486 on fra-1, 40 on lon-1, 9 on sin-1, and 3 on others.")
    expect(detail).toContain("Devices get 1.00\u00a0Mbit/s and send 2.00\u00a0Mbit/s.")
  })

  it("counts nodes that carry one, not those that are there", () => {
    expect(sentence(total(1), [node("fra-1", 1), node("ams-1", 0)]).title).toBe("1 session on 1 node")
  })

  it("says that nobody is connected, and that nothing could be", () => {
    expect(sentence(total(0), [node("fra-1", 0)]).title).toBe("Nobody is connected")
    expect(sentence(total(0), []).detail).toBe("There is no node to which a device could connect.")
  })

  it("does not say nobody where nobody knows", () => {
    expect(sentence(total(null), [node("fra-1", null)]).title).toBe("No node has told yet who is connected")
    expect(sentence(null, [node("fra-1", undefined)]).title).toBe("No node has told yet who is connected")
  })

  it("says how many nodes did not tell", () => {
    expect(sentence(total(3), [node("fra-1", 3), node("syd-1", null)]).detail).toContain("1 node does not tell.")
  })
})

describe("why a session is over", () => {
  it("has words for what nodes say, and shows what a newer one says", () => {
    expect(endedWord("silent")).toBe("Went silent")
    expect(endedWord("ended by an admin")).toBe("Ended by an admin")
    expect(endedWord("some_new_reason")).toBe("some new reason")
  })
})
