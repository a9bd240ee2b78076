import { describe, expect, it } from "vitest"
import { formatAmount, formatRate, fromLocal, parseAmount, parseRate, toLocal } from "./amounts"

describe("amounts", () => {
  it("reads decimal and binary units, with a point or a comma", () => {
    expect(parseAmount("50GB")).toBe(50_000_000_000)
    expect(parseAmount(" 50 gib ")).toBe(50 * 1_024 ** 3)
    expect(parseAmount("1,5 TB")).toBe(1_500_000_000_000)
    expect(parseAmount("1000")).toBe(1_000)
  })

  it("tells nothing from nonsense", () => {
    expect(parseAmount("  ")).toBeNull()
    for (const text of ["much", "5 XB", "-1 GB", "0", "99999 PB", "5 Mbit/s"]) expect(parseAmount(text)).toBeUndefined()
  })

  it("writes what it would read again", () => {
    for (const octets of [1, 999, 50_000_000_000, 50 * 1_024 ** 3, 123_456_789]) {
      expect(parseAmount(formatAmount(octets))).toBe(octets)
    }
    expect(formatAmount(500 * 1_024 ** 3)).toBe("500 GiB")
    expect(formatAmount(50_000_000_000)).toBe("50 GB")
    expect(formatAmount(null)).toBe("")
  })
})

describe("rates", () => {
  it("reads bits a second", () => {
    expect(parseRate("20 Mbit/s")).toBe(20_000_000)
    expect(parseRate("20mbit")).toBe(20_000_000)
    expect(parseRate("1,5 Gbit/s")).toBe(1_500_000_000)
    expect(parseRate("")).toBeNull()
  })

  it("needs a unit, and not one of octets", () => {
    expect(parseRate("20")).toBeUndefined()
    expect(parseRate("20 MB/s")).toBeUndefined()
  })

  it("writes what it would read again", () => {
    expect(formatRate(20_000_000)).toBe("20 Mbit/s")
    for (const bits of [1, 1_500, 2_500_000, 20_000_000]) expect(parseRate(formatRate(bits))).toBe(bits)
  })
})

describe("moments", () => {
  it("keeps the seconds of what was not touched", () => {
    const at = "2026-07-12T14:02:11Z"
    expect(fromLocal(toLocal(at), at)).toBe(at)
  })

  it("reads a new one, none, and nonsense", () => {
    expect(fromLocal("2027-01-02T03:04", null)).toBe(new Date("2027-01-02T03:04").toISOString())
    expect(fromLocal("", "2026-07-12T14:02:11Z")).toBeNull()
    expect(fromLocal("soon", null)).toBeUndefined()
  })
})
