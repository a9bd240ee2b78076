import { describe, expect, it } from "vitest"
import { Ceiling, linesOf, scaleOf } from "./scale"

const G = 1e9

describe("the scale", () => {
  it("has four lines at round numbers", () => {
    expect(linesOf(scaleOf(8.6 * G))).toEqual([0, 3 * G, 6 * G, 9 * G])
    expect(linesOf(scaleOf(12 * G))).toEqual([0, 4 * G, 8 * G, 12 * G])
  })

  it("gives each direction the room that makes the step smallest", () => {
    expect(scaleOf(1.4 * G, 0.3 * G)).toEqual({ step: 0.8 * G, above: 2, below: 1 })
    expect(scaleOf(0.2 * G, 1.4 * G)).toEqual({ step: 0.8 * G, above: 1, below: 2 })
  })

  it.each([0, 1, 999, 1_234, 87_654_321, 3 * 0.1 * G, 1e12])("holds all of %d", (high) => {
    const { step, above } = scaleOf(high)
    expect(step * above).toBeGreaterThanOrEqual(high)
    expect(step).toBeGreaterThanOrEqual(1_000)
  })
})

describe("the ceiling", () => {
  it("grows at once", () => {
    const ceiling = new Ceiling()
    ceiling.fit(3 * G, 0, 0)
    expect(ceiling.fit(9 * G, 0, 1).step).toBe(3 * G)
  })

  it("shrinks only when it was too high for ten seconds on end", () => {
    const ceiling = new Ceiling()
    ceiling.fit(9 * G, 0, 0)
    expect(ceiling.fit(2 * G, 0, 1_000).step).toBe(3 * G)
    expect(ceiling.fit(9 * G, 0, 8_000).step).toBe(3 * G)
    expect(ceiling.fit(2 * G, 0, 9_000).step).toBe(3 * G)
    expect(ceiling.wait(9_000)).toBe(10_000)
    expect(ceiling.fit(2 * G, 0, 18_999).step).toBe(3 * G)
    expect(ceiling.fit(2 * G, 0, 19_000).step).toBe(0.8 * G)
    expect(ceiling.wait(19_000)).toBeNull()
  })

  it("takes the next scale as it is when the reader looks at something else", () => {
    const ceiling = new Ceiling()
    ceiling.fit(9 * G, 0, 0)
    ceiling.reset()
    expect(ceiling.fit(G, 0, 1).step).toBeLessThan(G)
  })
})
