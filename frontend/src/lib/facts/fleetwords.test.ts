import { describe, expect, it } from "vitest"
import { fleetWords } from "./fleetwords"

describe("fleetWords", () => {
  it("has four words for an id, the same each time", () => {
    expect(fleetWords("3f9ac01b227710de")).toHaveLength(4)
    expect(fleetWords("3f9ac01b227710de")).toEqual(fleetWords("3f9ac01b227710de"))
  })

  it("tells ids apart by each of their first four octets", () => {
    const words = (id: string) => fleetWords(id).join(" ")
    expect(new Set(["00000000aa", "01000000aa", "00010000aa", "00000100aa", "00000001aa"].map(words)).size).toBe(5)
  })

  it("has none for what is no id", () => {
    expect(fleetWords("")).toEqual([])
  })
})
