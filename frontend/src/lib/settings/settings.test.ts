import { describe, expect, it } from "vitest"
import en from "$lib/i18n/catalogue"
import { BY_OWNERS, fieldText, grouped, GROUPS, helpOf, nameOf, parseValue, valueText, type Setting } from "./settings"

const setting = (id: string, part: Partial<Setting> = {}): Setting => ({
  id,
  version: 0,
  value: true,
  default: true,
  says: "What helm says",
  wants: "true or false",
  updated_at: null,
  updated_by: null,
  ...part,
})

describe("grouped", () => {
  it("puts what belongs together in the order that is set here", () => {
    const found = grouped([setting("audit.days"), setting("policy.closed"), setting("policy.internet")])
    expect(found.map(({ name, settings }) => [name, ...settings.map(({ id }) => id)])).toEqual([
      ["network", "policy.internet", "policy.closed"],
      ["record", "audit.days"],
    ])
  })

  it("keeps what a newer helm has, in helm's own words", () => {
    const [group] = grouped([setting("moon.phase")])
    expect(group!.name).toBe("more")
    expect(nameOf(group!.settings[0]!)).toBe("What helm says")
    expect(helpOf(group!.settings[0]!)).toBe("true or false")
  })

  it("has a name for each setting and each group that it knows", () => {
    const texts = en as Record<string, string>
    for (const [name, ids] of Object.entries(GROUPS)) {
      expect(texts[`settings.group.${name}`]).toBeTruthy()
      for (const id of ids) expect(texts[`settings.name.${id}`]).toBeTruthy()
    }
    expect([...BY_OWNERS]).toContain("oidc.roles")
  })
})

describe("parseValue", () => {
  it("takes whole numbers only", () => {
    expect(parseValue(30, " 90 ")).toBe(90)
    for (const text of ["", "9.5", "-1", "1e3", "many", "12345678901"]) expect(parseValue(30, text)).toBeNull()
  })

  it("takes one entry a line, and no empty ones", () => {
    expect(parseValue([], " 10.0.0.0/8 \n\n192.168.0.0/16\n")).toEqual(["10.0.0.0/8", "192.168.0.0/16"])
    expect(parseValue(["a"], "")).toEqual([])
  })

  it("gives back what it was given as text", () => {
    for (const value of [30, "Skerry", ["a", "b"]]) expect(parseValue(value, fieldText(value))).toEqual(value)
  })
})

describe("valueText", () => {
  it("says values as people do", () => {
    expect(valueText("policy.internet", false)).toBe("Off")
    expect(valueText("protocols", ["amneziawg", "reality"])).toBe("AmneziaWG, REALITY")
    expect(valueText("policy.closed", [])).toBe("–")
    expect(valueText("fleet.name", "")).toBe("–")
  })
})
