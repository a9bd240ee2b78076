import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import { Washes } from "./wash.svelte"

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

describe("a wash", () => {
  it("passes", () => {
    const washes = new Washes()
    washes.mark("a")
    expect(washes.has("a")).toBe(true)
    vi.advanceTimersByTime(3_000)
    expect(washes.has("a")).toBe(false)
  })
  it("comes over a row at most once in 2 s, and over 12 rows a second", () => {
    const washes = new Washes()
    for (let n = 0; n < 40; n++) washes.mark(`row ${n}`, 10_000)
    expect([...Array(40).keys()].filter((n) => washes.has(`row ${n}`))).toHaveLength(12)
    washes.mark("row 39", 11_000)
    expect(washes.has("row 39")).toBe(true)
    washes.mark("row 0", 11_000)
    vi.advanceTimersByTime(2_999)
    washes.mark("row 0", 11_900)
    vi.advanceTimersByTime(1)
    expect(washes.has("row 0")).toBe(false)
  })
  it("does not come while somebody looks", () => {
    const washes = new Washes()
    washes.mark("a", 10_000, true)
    expect(washes.has("a")).toBe(false)
  })
})
