import { describe, expect, it } from "vitest"
import { choose, chooseAll, compare, isSame, outcome, pieces } from "./merge"

const WAS = { label: "Frankfurt", limit: 500, dns: ["9.9.9.9"], mtu: 1380, note: "" }
const THEIRS = { ...WAS, limit: 650, dns: ["10.61.0.53"], mtu: 1400 }
const MINE = { label: "Frankfurt East", limit: 800, dns: ["9.9.9.9", "1.1.1.1"] }
const KEYS = ["limit", "dns", "label", "mtu", "note"]

const found = compare(KEYS, WAS, THEIRS, MINE)
const changed = Object.fromEntries(found.map((one) => [one.key, one.changed]))

describe("compare", () => {
  it("says who changed what", () => {
    expect(changed).toEqual({ limit: "both", dns: "both", label: "mine", mtu: "theirs", note: "equal" })
  })

  it("finds nothing to choose where both changed to the same", () => {
    expect(compare(["limit"], WAS, THEIRS, { limit: 650 })[0]!.changed).toBe("equal")
  })

  it("takes a change to none for a change", () => {
    expect(compare(["limit"], WAS, WAS, { limit: null })[0]).toMatchObject({ changed: "mine", mine: null })
  })
})

describe("choose", () => {
  it("takes what one side changed alone, and what is stored where both did", () => {
    expect(choose(found)).toEqual({ limit: "theirs", dns: "theirs", label: "mine", mtu: "theirs" })
  })

  it("keeps choices when the stored version changes once more", () => {
    const made = { ...choose(found), limit: "mine" as const }
    const again = compare(KEYS, WAS, { ...THEIRS, limit: 700, note: "moved" }, MINE)
    expect(choose(again, made)).toEqual({ limit: "mine", dns: "theirs", label: "mine", mtu: "theirs", note: "theirs" })
  })

  it("forgets the choice of a field that has become equal", () => {
    const again = compare(KEYS, WAS, { ...THEIRS, limit: 800 }, MINE)
    expect(choose(again, { limit: "mine" })).not.toHaveProperty("limit")
  })
})

describe("outcome", () => {
  it("sends what was chosen of mine, and nothing that is stored already", () => {
    expect(outcome(found, choose(found))).toEqual({ label: "Frankfurt East" })
    expect(outcome(found, { ...choose(found), dns: "mine" })).toEqual({ label: "Frankfurt East", dns: ["9.9.9.9", "1.1.1.1"] })
  })

  it("is empty when all of theirs is taken", () => {
    expect(outcome(found, chooseAll(found, "theirs"))).toEqual({})
  })

  it("turns back what only they changed when all of mine is kept", () => {
    expect(outcome(found, chooseAll(found, "mine"))).toEqual({ ...MINE, mtu: 1380 })
  })
})

describe("isSame", () => {
  it("does not look at the order of members, and does at that of lists", () => {
    expect(isSame({ a: 1, b: [1, 2] }, { b: [1, 2], a: 1 })).toBe(true)
    expect(isSame([1, 2], [2, 1])).toBe(false)
  })

  it("tells none from empty and from zero, and not from what is missing", () => {
    expect(isSame(null, "")).toBe(false)
    expect(isSame(null, 0)).toBe(false)
    expect(isSame(null, undefined)).toBe(true)
    expect(isSame([], {})).toBe(false)
  })
})

describe("pieces", () => {
  const marked = (was: string, now: string) =>
    pieces(was, now)
      .map(({ text, how }) => ({ same: text, ins: `[+${text}]`, del: `[-${text}]` })[how])
      .join("")

  it("marks what was added", () => {
    expect(marked("Frankfurt", "Frankfurt East, rack 4")).toBe("Frankfurt[+ East, rack 4]")
    expect(marked("9.9.9.9", "9.9.9.9, 1.1.1.1")).toBe("9.9.9.9[+, 1.1.1.1]")
  })

  it("marks what is gone", () => {
    expect(marked("one, two, three", "one, three")).toBe("one, [-two, ]three")
  })

  it("takes a value of which nothing stayed for all new", () => {
    expect(marked("500", "650")).toBe("[+650]")
    expect(marked("a, b", "c, d")).toBe("[+c, d]")
  })

  it("marks nothing in what did not change, and has nothing to mark in nothing", () => {
    expect(marked("same words", "same words")).toBe("same words")
    expect(pieces("", "")).toEqual([])
    expect(pieces("gone", "")).toEqual([])
  })

  it("does not compare endless texts word by word", () => {
    const long = "word ".repeat(5_000)
    expect(pieces(long, `${long}more`)).toEqual([{ text: `${long}more`, how: "ins" }])
  })

  it("gives back both texts", () => {
    const [was, now] = ["the quick brown fox", "the slow brown, old fox"]
    const found = pieces(was, now)
    const kept = (but: string) => found.filter(({ how }) => how !== but).map(({ text }) => text).join("")
    expect(kept("del")).toBe(now)
    expect(kept("ins")).toBe(was)
  })
})
