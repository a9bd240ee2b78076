import { describe, expect, it } from "vitest"
import { changesOf, proofOf, weave, type AuditRow, type Verification } from "./rows"

const row = (sequence: number): AuditRow => ({
  sequence, at: "2026-07-12T14:02:11Z", actor: "ada", via: "session", verb: "user_added", noun: "user", subject: "u", version: 1, detail: "", hash: "00",
})
const at = "2026-07-12T14:00:00Z"
const found = (ok: boolean, sequence: number): Verification => ({
  ok, rows: sequence, head: { sequence, hash: "00" }, checkpoint: null, detail: "",
})

describe("the chain with its checkpoints", () => {
  it("has each above the row that it covers last", () =>
    expect(weave([row(5), row(4), row(3)], [{ sequence: 4, at }, { sequence: 3, at }]).map((one) => one.id)).toEqual([
      "5", "mark 4", "4", "mark 3", "3",
    ]))
  it("keeps one whose own row a filter left out", () =>
    expect(weave([row(9), row(2)], [{ sequence: 5, at }]).map((one) => one.id)).toEqual(["9", "mark 5", "2"]))
  it("says once what two of one row say", () =>
    expect(weave([row(5)], [{ sequence: 5, at }, { sequence: 5, at }]).map((one) => one.id)).toEqual(["mark 5", "5"]))
})

describe("what is proven", () => {
  it("is everything while the chain holds", () => expect(proofOf(99, found(true, 3))).toBe("holds"))
  it("ends at the first row that does not fit", () =>
    expect([3, 4, 5].map((one) => proofOf(one, found(false, 3)))).toEqual(["holds", "broken", "unproven"]))
})

describe("what an act changed", () => {
  it("leaves out what every act changes", () =>
    expect(changesOf({ note: "", version: 1, updated_at: "a" }, { note: "knots", version: 2, updated_at: "b" })).toEqual([
      { field: "note", was: null, is: "knots" },
    ]))
  it("shows lists and what was not there before", () =>
    expect(changesOf(null, { tags: ["eu"], name: "fra-1" })).toEqual([
      { field: "tags", was: null, is: '["eu"]' },
      { field: "name", was: null, is: "fra-1" },
    ]))
})
