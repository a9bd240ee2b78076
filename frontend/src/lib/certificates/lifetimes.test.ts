import { describe, expect, it } from "vitest"
import { DAY } from "$lib/format"
import { certificatesSentence, isLate, memberLifetime, span, type Lifetime } from "./lifetimes"

const NOW = Date.parse("2026-07-12T14:02:11Z")
const leaf = (id: string, age: number): Lifetime =>
  memberLifetime(
    { id, role: "node", subject: id, serial: "1", state: "active", not_before_at: new Date(NOW - age * DAY).toISOString(), not_after_at: new Date(NOW + (365 - age) * DAY).toISOString() },
    id,
  )

describe("the sentence of the certificates", () => {
  it("names what is renewed next", () =>
    expect(certificatesSentence([leaf("fra-1", 100), leaf("syd-1", 10)], 0, NOW).replaceAll("\u00a0", " ")).toBe("The next renewal is fra-1’s, in 143 d"))
  it("says first what is due", () => expect(certificatesSentence([leaf("fra-1", 100)], 2, NOW)).toBe("2 certificates are due"))
  it("is calm where there is nothing", () => expect(certificatesSentence([], 0, NOW)).toBe("Nothing is due"))
})

describe("a lifetime", () => {
  it("is late when its renewal should have been", () => expect([200, 270].map((age) => isLate(leaf("a", age), NOW))).toEqual([false, true]))
  it("of an authority is late half a year before its end", () => {
    const ca = (days: number): Lifetime => ({ id: "root", name: "root", role: "authority", begins: null, ends: NOW + days * DAY, renews: null })
    expect([100, 400].map((days) => isLate(ca(days), NOW))).toEqual([true, false])
  })
  it("stands on an axis that holds all of them and today", () => {
    const [first, last] = span([leaf("a", 100)], NOW)
    expect([first, last]).toEqual([NOW - 100 * DAY, NOW + 400 * DAY])
  })
})
