import { describe, expect, it } from "vitest"
import { countdownOf, stepsOf } from "./steps"

const states = (phase: Parameters<typeof stepsOf>[0]) => stepsOf(phase).map((step) => step.state)

describe("the steps of an invitation", () => {
  it("waits for the device, then for its profile", () => {
    expect(states("open")).toEqual(["done", "now", "todo", "todo"])
    expect(states("claimed")).toEqual(["done", "done", "done", "now"])
    expect(states("delivered")).toEqual(["done", "done", "done", "done"])
  })

  it("waits no more for what is worth nothing", () => {
    expect(states("expired")).toEqual(["done", "failed", "todo", "todo"])
    expect(states("withdrawn")).toEqual(["done", "failed", "todo", "todo"])
  })
})

describe("the countdown", () => {
  const MINUTE = 60_000

  it("warns from two minutes on", () => {
    expect(countdownOf(15 * MINUTE, 15 * MINUTE, 0)).toEqual({ left: 15 * MINUTE, share: 1, warns: false, over: false })
    expect(countdownOf(15 * MINUTE, 15 * MINUTE, 13 * MINUTE - 1).warns).toBe(false)
    expect(countdownOf(15 * MINUTE, 15 * MINUTE, 13 * MINUTE).warns).toBe(true)
  })

  it("ends at nothing, and not below", () => {
    const late = countdownOf(15 * MINUTE, 15 * MINUTE, 16 * MINUTE)
    expect([late.left, late.share, late.over]).toEqual([0, 0, true])
  })

  it("does not overfill where a clock was set back", () => {
    expect(countdownOf(15 * MINUTE, 15 * MINUTE, -MINUTE).share).toBe(1)
  })
})
