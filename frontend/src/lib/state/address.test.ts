import { describe, expect, it, vi } from "vitest"

vi.mock("$app/navigation", () => ({ goto: () => Promise.resolve() }))
vi.mock("$app/state", () => ({ page: { url: new URL("http://localhost/devices") } }))
const { filterQuery, formatFilter, parseFilter } = await import("./address.svelte")
const NAMES = ["status", "user"]

describe("the filter field", () => {
  it.each([
    ["status:stale user:lena", { q: "", named: { status: "stale", user: "lena" } }],
    ['user:"Ada L" mbp', { q: "mbp", named: { user: "Ada L" } }],
    ["STATUS:stale", { q: "", named: { status: "stale" } }],
    ["http://x fd00::1", { q: "http://x fd00::1", named: {} }],
    ['"two words"', { q: "two words", named: {} }],
  ])("reads %s", (text, filter) => expect(parseFilter(text, NAMES)).toEqual(filter))

  it("writes what it reads", () => {
    for (const text of ["status:stale mbp ines", 'user:"Ada L"', "mbp"]) expect(formatFilter(parseFilter(text, NAMES))).toBe(text)
  })

  it("asks helm with it", () => expect(filterQuery({ q: "mbp", named: { status: "stale" } })).toEqual({ status: "stale", q: "mbp" }))
})
