import { describe, expect, it } from "vitest"
import { marked, rank } from "./rank"

const NAMES = ["Drain node fra-1", "Push settings to fra-1", "Devices", "Drain node ams-1"]

describe("the palette", () => {
  it("puts first what fits best, and leaves out what does not", () =>
    expect(rank(NAMES, "drain fr", (name) => name)).toEqual(["Drain node fra-1"]))
  it("keeps the order while nothing is typed", () => expect(rank(NAMES, " ", (name) => name)).toEqual(NAMES))
  it("finds by other words, too", () => expect(rank(NAMES, "frankfurt", (name) => name, (name) => (name.includes("fra") ? "Frankfurt" : ""))).toHaveLength(2))
  it("marks what was typed", () =>
    expect(marked("Drain node fra-1", "drain fr").filter((piece) => piece.hit).map((piece) => piece.text)).toEqual(["Drain", "fr"]))
  it("marks scattered letters, and gives every letter back", () => {
    expect(marked("tyo-1", "t1").filter((piece) => piece.hit).map((piece) => piece.text)).toEqual(["t", "1"])
    expect(marked("İstanbul", "x").map((piece) => piece.text).join("")).toBe("İstanbul")
  })
})
