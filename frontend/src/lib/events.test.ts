import { describe, expect, it } from "vitest"
import { event } from "../../dev/fleets.ts"
import { EVENTS, kindOf, tell, type EventKind } from "./events"

const NAMES = { device: "Ida’s phone", node: "cellar" }

describe("an event", () => {
  it.each(Object.keys(EVENTS) as EventKind[])("of kind %s is told in the words of this page", (kind) => {
    const told = tell(event(0, 0, kind, { text: "helm's words" }), NAMES)
    if (told.who === null) expect(told.what).toMatch(/.+ helm's words/)
    else expect([NAMES.device, NAMES.node]).toContain(told.who)
    expect(told.what).not.toBe("helm's words")
  })

  it("without a word from helm is at least named", () =>
    expect(tell(event(0, 0, "backup", { text: "" }), NAMES).what).toBe("backup"))

  it.each(["backup", "constructor", "__proto__"])("of the unknown kind %s is told in helm's words", (kind) => {
    const unknown = event(0, 0, kind, { text: "helm's words" })
    expect(tell(unknown, NAMES)).toEqual({ who: null, what: "helm's words" })
    expect(kindOf(unknown).glyph).toBe("other")
  })

  it("about a device that is gone is told in helm's words", () =>
    expect(tell(event(0, 0, "handshake", { text: "helm's words" }), { device: null, node: "cellar" }).who).toBeNull())
})
