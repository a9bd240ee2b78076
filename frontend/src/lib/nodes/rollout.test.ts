import { describe, expect, it } from "vitest"
import { canariesOf, gather, membersOf, outcomeShape, upgradeLine } from "./rollout"
import type { UpgradeEvent } from "./types"

const run = { members: ["ams", "fra", "syd"] }
const of = (events: UpgradeEvent[], name: string) => membersOf(run, events).find((member) => member.name === name)!

describe("members of an upgrade", () => {
  it("wait for their turn", () => {
    expect(membersOf(run, []).map((member) => [member.name, member.state])).toEqual([
      ["ams", "waiting"],
      ["fra", "waiting"],
      ["syd", "waiting"],
    ])
  })

  it("are in the step that was told last, with how much of it is done", () => {
    const events: UpgradeEvent[] = [
      { number: 1, event: "begun", member: "ams", step: "upload", says: "send the package" },
      { number: 2, event: "progress", member: "ams", step: "upload", done: 1, total: 4 },
    ]
    expect(of(events, "ams")).toMatchObject({ state: "running", step: "upload", says: "send the package", share: 0.25 })
    expect(of(events, "fra").state).toBe("waiting")
  })

  it("end with an outcome; whose turn never came is told with the end", () => {
    const events: UpgradeEvent[] = [
      { number: 1, event: "member_ended", member: "ams", outcome: "rolled_back", says: "no answer", seconds: 130 },
      { number: 2, event: "ended", outcomes: { ams: "rolled_back", fra: "left", syd: "left" }, seconds: 131 },
    ]
    expect(of(events, "ams")).toMatchObject({ state: "ended", outcome: "rolled_back", says: "no answer", seconds: 130 })
    expect(of(events, "syd")).toMatchObject({ state: "ended", outcome: "left" })
  })

  it("ignore who is no member", () => {
    expect(membersOf(run, [{ number: 1, event: "begun", member: "x", step: "look", says: "" }])).toHaveLength(3)
  })
})

describe("events", () => {
  it("replace what they are a newer word of", () => {
    const known: UpgradeEvent[] = [
      { number: 1, event: "begun" },
      { number: 2, event: "progress" },
    ]
    expect(gather(known, [{ number: 3, event: "done" }]).map((event) => event.number)).toEqual([1, 2, 3])
    expect(gather(known, [{ number: 2, event: "done" }]).map((event) => event.event)).toEqual(["begun", "done"])
    expect(gather(known, [])).toEqual(known)
  })

  it("read as lines", () => {
    expect(upgradeLine({ number: 1, event: "begun", says: "look" })).toBe("look …")
    expect(upgradeLine({ number: 1, event: "progress", says: "sent", done: 1, total: 2 })).toBe("sent 1/2")
    expect(upgradeLine({ number: 1, event: "member_ended", outcome: "broken", says: "away" })).toBe("broken: away")
    expect(upgradeLine({ number: 1, event: "ended", outcomes: { a: "upgraded" } })).toBe("a upgraded")
  })
})

describe("canaries", () => {
  it("are at most as many as there are members", () => {
    expect(canariesOf("1", 3)).toBe(1)
    expect(canariesOf("4", 3)).toBeNull()
    expect(canariesOf("x", 3)).toBeNull()
    expect(canariesOf("0", 3)).toBe(0)
  })

  it("and their outcomes have shapes, a new one none that is well", () => {
    expect(outcomeShape("upgraded")).toBe("ok")
    expect(outcomeShape("levitated")).toBe("off")
  })
})
