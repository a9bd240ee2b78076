import { describe, expect, it } from "vitest"
import { contents, sentence } from "./facts"

describe("the sentence about profiles", () => {
  it("says that all are synced", () => {
    expect(sentence({ synced: 12, sending: 0, stale: 0 })).toEqual({
      title: "All 12 profiles are synced",
      detail: "Every device goes by what the record says.",
    })
    expect(sentence({ synced: 1, sending: 0, stale: 0 }).title).toBe("The only profile is synced")
  })

  it("says how many are not, and why that matters", () => {
    const { title, detail } = sentence({ synced: 9_981, sending: 404, stale: 27 })
    expect(title).toBe("9,981 of 10,412 profiles are synced")
    expect(detail).toBe(
      "404 are on their way, and come when their device asks next. 27 have been behind for 7 days: look at those devices.",
    )
  })

  it("claims nothing where there is nothing, or nothing is known", () => {
    expect(sentence({ synced: 0, sending: 0, stale: 0 }).title).toBe("No device has a profile yet")
    expect(sentence(null).title).toBe("Profiles have not been counted yet")
  })
})

describe("what a profile contains", () => {
  it("names nodes and protocols", () => {
    expect(contents({ nodes: 3, protocols: ["amneziawg", "reality"] })).toBe("3 nodes by AmneziaWG and REALITY")
    expect(contents({ nodes: 1, protocols: ["carrier"] })).toBe("1 node by carrier")
    expect(contents({ nodes: 0, protocols: [] })).toBe("no node")
  })
})
