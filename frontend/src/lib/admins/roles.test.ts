import { describe, expect, it } from "vitest"
import en from "$lib/i18n/catalogue"
import { DUTIES, includes, ROLES, SCOPES } from "./roles"

describe("roles", () => {
  it("goes from the least to the most", () => {
    expect(includes("owner", "viewer")).toBe(true)
    expect(includes("operator", "operator")).toBe(true)
    expect(includes("viewer", "operator")).toBe(false)
  })

  it("gives each role something that the one below it may not", () => {
    expect(ROLES.every((role) => DUTIES.some(({ needs }) => needs === role))).toBe(true)
    expect(DUTIES.every(({ says }) => en[says])).toBe(true)
  })

  it("names each scope once", () => {
    expect(new Set(SCOPES).size).toBe(SCOPES.length)
  })
})
