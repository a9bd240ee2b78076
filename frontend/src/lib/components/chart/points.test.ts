import { describe, expect, it } from "vitest"
import type { Chart } from "$lib/api/types"
import { byProtocol, extremes, isFullAgain, named, settled, stacked, thinned, upAndDown, withRunning } from "./points"

const BEGIN = Date.parse("2026-07-12T14:00:00Z")
const chart = (values: (number | null)[], since = BEGIN, step = 30): Chart => ({
  metric: "sent",
  unit: "bytes/s",
  since: new Date(since).toISOString(),
  step,
  values,
  low: [],
  high: [],
  gaps: [],
  total: 0,
  unseen: 0,
})

describe("tracks", () => {
  it("are bit/s: what a node sends is down, what it receives up", () =>
    expect(upAndDown(chart([1, 2]), chart([0, 1]))).toEqual({
      since: BEGIN,
      step: 30_000,
      tracks: { down: [8, 16], up: [0, 8] },
    }))

  it("of two answers a slot apart have the slots that both have", () => {
    const past = upAndDown(chart([1, 2, 3]), chart([5, 6, 7], BEGIN + 30_000))
    expect(past.since).toBe(BEGIN + 30_000)
    expect(past.tracks).toEqual({ down: [16, 24], up: [40, 48] })
  })

  it("by protocol are both directions together, with a hole where nobody looked", () => {
    const { tracks } = byProtocol(
      [chart([3, null, 30]), chart([1, 1, 10])],
      [chart([2, null, 20]), chart([1, 1, 10])],
      [chart([1, null, 10]), chart([0, 0, 0])],
    )
    expect(tracks).toEqual({ amneziawg: [24, null, 240], reality: [8, null, 80] })
  })

  it("show what nodes carried that do not tell protocols apart", () => {
    const nobody = [chart([null, 1]), chart([null, 1])]
    expect(byProtocol([chart([10, 2]), chart([10, 2])], nobody, [chart([null, 1]), chart([null, 1])]).tracks).toEqual({
      amneziawg: [0, 16],
      reality: [0, 16],
      untold: [160, 0],
    })
  })

  it("take a factor where a metric is no rate of bytes", () =>
    expect(named({ handshakes: [chart([0.5, null]), 60], sessions: [chart([3, 4]), 1] }).tracks).toEqual({
      handshakes: [30, null],
      sessions: [3, 4],
    }))
})

describe("the right edge", () => {
  const single = (values: (number | null)[], since = BEGIN, step = 30) => named({ n: [chart(values, since, step), 1] })
  const past = single([1, 2, 3, 4])

  it("is read anew when another slot is full", () => {
    expect(isFullAgain(past, BEGIN + 154_999)).toBe(false)
    expect(isFullAgain(past, BEGIN + 155_000)).toBe(true)
  })

  it("leaves out a slot until it is full and written", () => {
    expect(settled(past, BEGIN + 94_000).tracks.n).toEqual([1, 2])
    expect(settled(past, BEGIN + 95_000).tracks.n).toEqual([1, 2, 3])
  })

  it("is the mean of what was sampled in the running slot", () => {
    const long = single([7], BEGIN, 300)
    const recent = single([100, 2, null, 4], BEGIN + 270_000)
    expect(withRunning(long, recent).tracks.n).toEqual([7, 3])
  })

  it("has nothing of what the last samples lack, if there were any", () => {
    const both = { ...past, tracks: { n: [1, 2, 3, 4], gone: [5, 6, 7, 8] } }
    expect(withRunning(both, single([9], BEGIN + 120_000)).tracks).toEqual({ n: [1, 2, 3, 4, 9], gone: [5, 6, 7, 8, 0] })
    expect(withRunning(both, single([null], BEGIN + 120_000)).tracks.gone!.at(-1)).toBeNull()
  })

  it("is a hole while nothing was sampled", () =>
    expect(withRunning(past, single([])).tracks.n).toEqual([1, 2, 3, 4, null]))
})

it("extremes pass over holes, and are nothing where nothing is known", () => {
  expect(extremes([3, null, 1, 2, null])).toEqual({ lowest: 1, highest: 3, current: 2 })
  expect(extremes([null])).toEqual({ lowest: null, highest: null, current: null })
  expect(extremes([7, null, null]).current).toBeNull()
})

it("stacked tracks stand on those before them", () =>
  expect(stacked([[1, null], [2, 5]])).toEqual([[1, null], [3, null]]))

it("thinned values are means, in order", () => {
  expect(thinned([1, 3, null, 5], 2)).toEqual([2, 5])
  expect(thinned([1, 2], 5)).toEqual([1, 2])
})
