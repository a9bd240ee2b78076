import { describe, expect, it } from "vitest"
import { parseHeaders } from "./sinks"

describe("parseHeaders", () => {
  it("reads one header a line, and none", () => {
    expect(parseHeaders("Authorization: Bearer a:b\n\nX-Scope:  one \n")).toEqual({ Authorization: "Bearer a:b", "X-Scope": "one" })
    expect(parseHeaders("")).toEqual({})
  })

  it("says so when a line is none", () => {
    for (const text of ["Bearer token", ": value", "Name:", "two words: x", "Ok: 1\nbroken"]) expect(parseHeaders(text)).toBeNull()
  })
})
