import { describe, expect, it } from "vitest"
import { ago, bytes, count, countdown, date, duration, hash8, keyShort, moment, percent, rate, rateParts } from "./format"

const plain = (text: string) => text.replaceAll("\u00a0", " ")
const NOW = new Date(2026, 6, 12, 14, 2, 11)
const before = (ms: number) => new Date(NOW.getTime() - ms)
const DAY = 86_400_000

describe("an age", () => {
  it.each([
    [-5_000, "0 s"],
    [3_999, "3 s"],
    [68_000, "1 min 08 s"],
    [3 * 3_600_000 + 20 * 60_000, "3 h 20 min"],
    [9 * DAY, "9 d"],
  ])("of %d ms is %s", (ms, text) => expect(plain(duration(ms))).toBe(text))
  it("beyond 30 days is a date", () => {
    expect(plain(ago(before(29 * DAY).getTime(), NOW.getTime()))).toBe("29 d")
    expect(ago(before(100 * DAY).getTime(), NOW.getTime())).toBe("Apr 3")
    expect(ago(before(300 * DAY).getTime(), NOW.getTime())).toContain("2025")
  })
})

describe("a rate", () => {
  it.each([
    [null, "–"],
    [0, "0 bit/s"],
    [999, "999 bit/s"],
    [999_600, "1.00 Mbit/s"],
    [1_240_000_000, "1.24 Gbit/s"],
    [36_900_000, "36.9 Mbit/s"],
    [960_000_000, "960 Mbit/s"],
    [99_960, "100 kbit/s"],
  ])("of %d bit/s has three significant digits: %s", (bits, text) => expect(plain(rate(bits))).toBe(text))
  it("comes in parts for large figures", () => expect(rateParts(8_280_000_000)).toEqual({ value: "8.28", unit: "Gbit/s" }))
})

describe("an amount", () => {
  it.each([
    [undefined, "–"],
    [12, "12 B"],
    [1_024, "1.00 KiB"],
    [412 * 2 ** 30, "412 GiB"],
    [1_023.9 * 2 ** 20, "1.00 GiB"],
  ])("of %d octets is binary: %s", (octets, text) => expect(plain(bytes(octets))).toBe(text))
})

describe("a share", () => {
  it.each([
    [0.41, "41 %"],
    [0.003, "0.3 %"],
    [0, "0 %"],
    [NaN, "–"],
  ])("of %d is %s", (share, text) => expect(plain(percent(share))).toBe(text))
})

describe("a time", () => {
  it("of today is the time of day, any other has its date", () => {
    expect(moment(before(60_000), NOW)).toMatch(/2:01:11|14:01:11/)
    expect(moment(before(3 * DAY), NOW)).toContain("Jul 9")
  })
  it("has the year if it is another one", () => expect(date(new Date(2025, 0, 3), NOW)).toContain("2025"))
  it("that runs out counts minutes and seconds", () => expect([872_000, 59_100, -1].map(countdown)).toEqual(["14:32", "1:00", "0:00"]))
})

it("keys and hashes are shown short", () => {
  expect(keyShort("SHA256:q7LwAAAAAAAAe0Tk")).toBe("SHA256:q7Lw…e0Tk")
  expect(keyShort("abc")).toBe("abc")
  expect(hash8("50b07ca4ffff")).toBe("50b07ca4")
})

it("a number below zero has a true minus", () => expect(count(-1_234)).toBe("−1,234"))
