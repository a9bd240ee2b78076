import { describe, expect, it } from "vitest"
import { date, duration, moment } from "./format"

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const plain = (text: string) => text.replaceAll("\u00a0", " ")

describe("a duration", () => {
  it.each([
    [0, "0 s"],
    [59_999, "59 s"],
    [68 * SECOND, "1 min 08 s"],
    [3 * HOUR + 20 * MINUTE + 59 * SECOND, "3 h 20 min"],
    [9 * 24 * HOUR + 23 * HOUR, "9 d"],
  ])("of %i ms reads %s", (ms, text) => expect(plain(duration(ms))).toBe(text))

  it("of a clock that runs ahead is nothing", () => expect(plain(duration(-5 * SECOND))).toBe("0 s"))
  it("never breaks its line", () => expect(duration(68 * SECOND)).not.toContain(" "))
})

describe("a moment", () => {
  const now = new Date(2026, 6, 12, 14, 2, 11)

  it("of today is a time of day", () => expect(moment(new Date(2026, 6, 12, 8, 12, 9), now)).toContain("12"))
  it("of another day is a date", () => expect(moment(new Date(2026, 6, 11, 8, 0), now)).not.toContain(":"))
  it("of another year says which", () => expect(date(new Date(2025, 2, 12), now)).toContain("2025"))
  it("of last December says no year in January", () =>
    expect(date(new Date(2025, 11, 30), new Date(2026, 0, 2))).not.toContain("2025"))
})
