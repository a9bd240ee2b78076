import { describe, expect, it } from "vitest"
import { cluster, haloOf, labels, markerOf, nameOf, type Pin } from "./layout"
import { dotAt, landPath, project } from "./projection"

const pin = (name: string, x: number, y: number, more: Partial<Pin> = {}): Pin => ({
  id: name, name, place: "", x, y, shape: "ok", sessions: 0, ...more,
})
const joined = (pins: Pin[], near: number) =>
  cluster(pins, near).map((ids) => markerOf(ids.map((id) => pins.find((pin) => pin.id === id)!)))
const SIZE = { width: 400, height: 200 }

describe("markers", () => {
  it("nearer than the distance join into one that has the worst status and all sessions", () => {
    const found = joined([pin("a", 10, 10, { sessions: 2 }), pin("b", 20, 10, { shape: "bad", sessions: 3 }), pin("c", 90, 10)], 28)
    expect(found).toHaveLength(2)
    expect(found[0]).toMatchObject({ id: "a b", shape: "bad", sessions: 5, x: 15, y: 10 })
  })

  it("are never left nearer to each other than that", () => {
    const pins = Array.from({ length: 60 }, (_, at) => pin(`n${at}`, (at * 37) % 300, (at * 53) % 150))
    const found = joined(pins, 28)
    expect(found.flatMap((marker) => marker.pins)).toHaveLength(60)
    for (const a of found) for (const b of found) if (a !== b) expect(Math.hypot(a.x - b.x, a.y - b.y)).toBeGreaterThanOrEqual(28)
  })

  it("do not move by figures", () => {
    const at = (sessions: number) => joined([pin("a", 10, 10, { sessions }), pin("b", 20, 10)], 28)[0]!
    expect(at(1).x).toBe(at(500).x)
  })

  it("have a halo whose area goes with the sessions", () => {
    expect(haloOf(0, 100)).toBe(0)
    expect(haloOf(25, 100)).toBe(20)
    expect(haloOf(100, 100)).toBe(30)
  })

  it("of many nodes are named by what the names have in common", () => {
    const named = (...names: string[]) => nameOf(joined(names.map((name) => pin(name, 1, 1)), 28)[0]!)
    expect(named("fra-1")).toBe("fra-1")
    expect(named("fra-1", "fra-2", "ams-1")).toBe("ams fra")
    expect(named("a-1", "b-1", "c-1", "d-1")).toBe("a b +2")
    expect(named("1", "2")).toBe("1 2")
    expect(named("node-1", "node-2")).toBe("node")
    expect(nameOf(markerOf([pin("node-1", 1, 1, { place: "Oslo" }), pin("node-2", 1, 1, { place: "Oslo" })]))).toBe("Oslo")
  })
})

describe("labels", () => {
  const placed = (...pins: Pin[]) => labels(joined(pins, 28), SIZE)

  it("stand at the right, or dodge where there is no room", () => {
    expect(placed(pin("mid", 200, 100)).get("mid")).toMatchObject({ anchor: "start" })
    expect(placed(pin("edge", 390, 100)).get("edge")).toMatchObject({ anchor: "end" })
    const found = placed(pin("one", 200, 100), pin("two", 240, 100))
    expect(found.get("one")).toMatchObject({ anchor: "end" })
  })

  it("hide rather than cover anything, the worst last", () => {
    const crowd = [0, 1, 2].flatMap((row) => [0, 1, 2].map((col) => pin(`node-${row}${col}`, 20 + col * 30, 20 + row * 30)))
    const found = labels(joined([...crowd, pin("sick-one", 50, 110, { shape: "bad" })], 28), { width: 170, height: 130 })
    expect(found.size).toBeLessThan(10)
    expect(found.has("sick-one")).toBe(true)
  })
})

describe("the projection", () => {
  it("is cut in the Bering Strait and wraps there", () => {
    expect(project(50.11, 8.68).x).toBeCloseTo(496.3, 1)
    expect(project(66, -175).x).toBeGreaterThan(980)
    expect(project(61, -150).x).toBeLessThan(60)
  })

  it("draws a dot where one is said to be", () => {
    const { latitude, longitude } = dotAt(3, 2)
    const { x, y } = project(latitude, longitude)
    expect(landPath([[], [], [], [2, 1]])).toBe(`M${x.toFixed(1)} ${y.toFixed(1)}h0`)
  })
})
