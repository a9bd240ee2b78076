import { describe, expect, it } from "vitest"
import { atWork, canGoOn, canUndo, lineOf, progressOf, standing, standingIn, STEPS } from "./facts"
import type { JoinEvent } from "./types"

const step = (events: JoinEvent[], id: string) => progressOf(events).steps.find((one) => one.id === id)!

describe("steps", () => {
  it("wait in their order until something is said", () => {
    const { steps, over } = progressOf([])
    expect(steps.map((one) => one.id)).toEqual([...STEPS])
    expect(new Set(steps.map((one) => one.state))).toEqual(new Set(["todo"]))
    expect(over).toBe(false)
  })

  it("are at work, grow and end with what came of them", () => {
    const events: JoinEvent[] = [
      { event: "begun", step: "upload", says: "send the packages" },
      { event: "progress", step: "upload", done: 25, total: 100 },
    ]
    expect(step(events, "upload")).toMatchObject({ state: "now", says: "send the packages", share: 0.25 })
    const done: JoinEvent = { event: "done", step: "upload", says: "4.7 MB", changed: true, seconds: 2.2 }
    expect(step([...events, done], "upload")).toMatchObject({ state: "done", says: "4.7 MB", seconds: 2.2, share: null, changed: true })
  })

  it("say what to do where one fails, and that it is over", () => {
    const progress = progressOf([
      { event: "begun", step: "ports", says: "try its ports" },
      { event: "failed", step: "ports", says: "TCP 7443 is closed", way: "let it through", seconds: 3 },
    ])
    expect(progress.over).toBe(true)
    expect(progress.steps.find((one) => one.id === "ports")).toMatchObject({ state: "failed", way: "let it through" })
  })

  it("may be taken back", () => {
    const events: JoinEvent[] = [
      { event: "done", step: "install", says: "pharos-buoy 1.0", changed: true, seconds: 1 },
      { event: "undone", step: "install", says: "pharos-buoy is gone" },
      { event: "stopped", undone: true },
    ]
    expect(step(events, "install").state).toBe("undone")
    expect(progressOf(events).over).toBe(true)
  })

  it("are none of those at work once it was stopped", () => {
    const events: JoinEvent[] = [{ event: "begun", step: "install", says: "install them" }, { event: "stopped" }]
    expect(step(events, "install").state).toBe("todo")
  })

  it("are over when a rehearsal is, and nothing of it can be taken back", () => {
    expect(progressOf([{ event: "rehearsed", changes: 3 }]).over).toBe(true)
    expect(canUndo({ state: "rehearsed" })).toBe(false)
  })

  it("tell what a dry run would do", () => {
    const events: JoinEvent[] = [{ event: "planned", step: "install", says: "install pharos-buoy", changes: true }]
    expect(step(events, "install")).toMatchObject({ state: "planned", changed: true })
  })
})

describe("questions", () => {
  it("stand until something follows them", () => {
    const asked: JoinEvent = { event: "asked", what: "host_key", says: "SHA256:abc" }
    expect(progressOf([asked]).asks).toEqual({ what: "host_key", says: "SHA256:abc" })
    expect(progressOf([asked, { event: "done", step: "connect", says: "root", seconds: 1 }]).asks).toBeNull()
  })
})

describe("lines", () => {
  it("read as a terminal has them", () => {
    expect(lineOf({ event: "begun", step: "look", says: "look at the machine" })).toBe("look at the machine …")
    expect(lineOf({ event: "asked", what: "host_key", says: "SHA256:abc" })).toBe("host key SHA256:abc")
    expect(lineOf({ event: "failed", says: "no room", way: "make some" })).toBe("no room\nmake some")
    expect(lineOf({ event: "joined", members: { nodes: "0199" } })).toBe("nodes 0199")
    expect(lineOf({ event: "stopped", undone: true })).toBe("undone")
  })
})

describe("where a machine stands", () => {
  it("is kept in the address, and read from it", () => {
    const there = { place: "Warsaw, rack 4", latitude: 52.23, longitude: 21.01 }
    expect(standingIn(new URL(`http://x/${standing(there)}`).searchParams)).toEqual(there)
    expect(standing({ place: "", latitude: null, longitude: null })).toBe("")
    expect(standingIn(new URLSearchParams(""))).toEqual({})
    expect(standingIn(new URLSearchParams("at=x,y"))).toEqual({})
  })
})

describe("states", () => {
  it("say what can be done", () => {
    expect(["running", "waiting", "undoing"].every((state) => atWork({ state }))).toBe(true)
    expect(canUndo({ state: "failed" })).toBe(true)
    expect(canUndo({ state: "joined" })).toBe(false)
    expect(canUndo({ state: "undone" })).toBe(false)
    expect(canGoOn({ state: "failed" })).toBe(true)
    expect(canGoOn({ state: "running" })).toBe(false)
  })
})
