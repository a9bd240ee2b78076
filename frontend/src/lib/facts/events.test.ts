import { describe, expect, it } from "vitest"
import en from "$lib/i18n/catalogue"
import { fold, lookOf, PASSING, tell, tellMany, type Tellable } from "./events"

const event = (kind: string, more: Partial<Tellable> = {}): Tellable => ({
  at: "2026-07-12T14:02:11Z",
  kind,
  node: null,
  device: null,
  name: null,
  text: "",
  ...more,
})

describe("an event in words", () => {
  it("names the device, and the node where that is known", () => {
    const shook = event("handshake", { device: "d", name: "mbp-ines", node: "n", text: "203.0.113.7:4500" })
    expect(tell(shook, "tyo-1")).toEqual({ who: "mbp-ines", what: "handshake on tyo-1" })
    expect(tell(shook, null)).toEqual({ who: "mbp-ines", what: "handshake" })
  })

  it("is helm's own text where a name is not known any more", () =>
    expect(tell(event("link_lost", { node: "gone", text: "old-1: timed out" }), null)).toEqual({
      who: null,
      what: "old-1: timed out",
    }))

  it("counts what a node lost", () =>
    expect(tell(event("gap", { node: "n", text: "12" }), "fra-1")).toEqual({ who: "fra-1", what: "lost 12 events" }))

  it("tells a change of a member by its name, and does not say the name twice", () => {
    expect(tell(event("node_drained", { node: "n", text: "bom-1" }), "bom-1")).toEqual({ who: "bom-1", what: "draining" })
    expect(tell(event("node_changed", { node: "n", text: "note" }), "fra-1")).toEqual({ who: "fra-1", what: "changed: note" })
  })

  it("tells a change of what has no name here by its kind", () => {
    expect(tell(event("user_changed", { text: "expires_at" }), null).what).toBe("User changed: expires_at")
    expect(tell(event("alert_target_moved", { text: "ops" }), null).what).toBe("Alert target moved: ops")
  })

  it("shows a word of a newer helm as it is", () => {
    expect(tell(event("node_painted", { node: "n" }), "fra-1")).toEqual({ who: "fra-1", what: "painted" })
    expect(tell(event("comet_seen"), null)).toEqual({ who: null, what: "comet seen" })
    expect(lookOf({ kind: "comet_seen" })).toEqual({ glyph: "other", tone: "quiet" })
    expect(lookOf({ kind: "constructor" })).toEqual({ glyph: "other", tone: "quiet" })
  })

  it.each(Object.entries(PASSING))("has a text for %s", (kind, { about }) => {
    const keys = about === "device" ? [`events.${kind}`, `events.${kind}At`] : [`events.${kind}`]
    for (const key of keys) expect(en).toHaveProperty([key])
  })
})

describe("a burst", () => {
  const at = (second: number, more: Partial<Tellable> = {}) =>
    event("handshake", { node: "n", device: "d", name: "x", at: `2026-07-12T14:02:${String(second).padStart(2, "0")}Z`, ...more })
  const keyed = (events: Tellable[]) => fold(events, (one) => `${one.kind} ${one.at}`)

  it("of one kind at one node within ten seconds is one line at the time of the newest", () => {
    const lines = keyed([at(9), at(8), at(4), at(2)])
    expect(lines).toHaveLength(1)
    expect(lines[0]).toMatchObject({ n: 4, event: { at: "2026-07-12T14:02:09Z" } })
    expect(tellMany(lines[0]!, "fra-1")).toEqual({ who: "fra-1", what: "4 handshakes" })
  })

  it("keeps its line while it grows", () =>
    expect(keyed([at(9), at(8), at(4), at(2), at(1)])[0]!.key).toBe(keyed([at(8), at(4), at(2), at(1)])[0]!.key))

  it("leaves few, other nodes, other times and other kinds alone", () => {
    const apart = [at(19), at(9, { node: "m" }), at(8), at(7), event("node_changed", { node: "n" }), at(6)]
    expect(keyed(apart).map((line) => line.n)).toEqual([1, 1, 1, 1, 1, 1])
  })

  it("keeps the order of what is newest", () =>
    expect(keyed([at(9), at(8, { node: "m" }), at(7), at(6), at(5)]).map((line) => line.n)).toEqual([4, 1]))
})
