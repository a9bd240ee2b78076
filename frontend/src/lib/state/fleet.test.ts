import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import { event, fleet } from "../../../dev/fleets.ts"
import { ApiError } from "$lib/api/client"
import type { Status } from "$lib/api/types"
import { CHANGED, FleetState, POLL } from "./fleet.svelte"

type Answer = Status | ApiError

const silent = () => new ApiError({ kind: "unreachable" })
const withEvent = (sequence: number) =>
  fleet(0, { events: [{ ...event(0, 0, "handshake", { device: "d", node: "n" }), sequence }] })

let leave: AbortController
/** When each question was put, in milliseconds from the start. */
let asked: number[]

/** A state whose helm gives these answers in turn, then the last one for ever. */
function watching(...answers: Answer[]): FleetState {
  const start = Date.now()
  const state = new FleetState(async () => {
    asked.push(Date.now() - start)
    const answer = answers.length > 1 ? answers.shift() : answers[0]
    if (answer instanceof ApiError || !answer) throw answer
    return answer
  })
  void state.run(leave.signal)
  return state
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms)

beforeEach(() => {
  vi.useFakeTimers()
  leave = new AbortController()
  asked = []
})
afterEach(() => {
  leave.abort()
  vi.useRealTimers()
})

describe("the picture of the fleet", () => {
  it("is renewed at its pace until the reader leaves", async () => {
    watching(fleet(0))
    await pass(2 * POLL)
    expect(asked).toEqual([0, POLL, 2 * POLL])
    leave.abort()
    await pass(10 * POLL)
    expect(asked).toHaveLength(3)
  })

  it("stays, dated, when helm goes silent", async () => {
    const state = watching(fleet(0), silent())
    await pass(0)
    const arrived = Date.now()
    await pass(POLL + 500)
    expect(state.failure).toEqual({ kind: "unreachable" })
    expect(state.status).toEqual(fleet(0))
    expect(state.asOf(Date.now())).toBe(arrived)
  })

  it("is asked for after 2, 4, 8, then every 10 s while helm is silent", async () => {
    watching(silent())
    await pass(40_000)
    expect(asked).toEqual([0, 2_000, 6_000, 14_000, 24_000, 34_000])
  })

  it("says when it will be asked for next", async () => {
    const state = watching(silent())
    await pass(2_000)
    expect(state.retryAt - Date.now()).toBe(4_000)
  })

  it("is asked for at once when the reader says so, and recovers", async () => {
    const state = watching(silent(), fleet(0))
    await pass(100)
    state.tryNow()
    await pass(0)
    expect(asked).toEqual([0, 100])
    expect(state.failure).toBeNull()
    await pass(POLL)
    expect(asked).toEqual([0, 100, 100 + POLL])
  })
})

describe("what has just changed", () => {
  it("is marked for a while, and only what the event is about", async () => {
    const state = watching(withEvent(7), withEvent(8))
    await pass(0)
    expect(state.changed("d")).toBe(false)
    await pass(POLL)
    expect([state.changed("d"), state.changed(8), state.changed("n")]).toEqual([true, true, false])
    await pass(CHANGED)
    expect([state.changed("d"), state.changed(8)]).toEqual([false, false])
  })

  it("is not marked after an absence", async () => {
    const state = watching(withEvent(7), silent(), withEvent(9))
    await pass(POLL)
    expect(state.failure).not.toBeNull()
    await pass(POLL)
    expect(state.failure).toBeNull()
    expect(state.changed("d")).toBe(false)
  })
})
