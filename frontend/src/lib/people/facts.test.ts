import { describe, expect, it } from "vitest"
import { byLine, grantedNodes, grantSentence, linksCsv, protocolNames, wordOf } from "./facts"

const nodes = [
  { id: "1", name: "fra-1", tags: ["eu"] },
  { id: "2", name: "ams-1", tags: ["eu", "fast"] },
  { id: "3", name: "tyo-1", tags: ["asia"] },
]
const group = (facts: Partial<Parameters<typeof grantSentence>[0]> = {}) => ({
  node_tags: [] as string[],
  protocols: ["amneziawg", "reality"],
  everybody: false,
  ...facts,
})

describe("what a group grants", () => {
  it("takes nodes with any of its tags, all without a tag", () => {
    expect(grantedNodes(group({ node_tags: ["eu"] }), nodes)).toEqual(["ams-1", "fra-1"])
    expect(grantedNodes(group({ node_tags: ["fast", "asia"] }), nodes)).toEqual(["ams-1", "tyo-1"])
    expect(grantedNodes(group(), nodes)).toHaveLength(3)
  })

  it("says who may reach what by what", () => {
    expect(grantSentence(group({ node_tags: ["eu"] }), 2, ["ams-1", "fra-1"])).toBe(
      "2 users may use ams-1 and fra-1 by AmneziaWG and REALITY.",
    )
    expect(grantSentence(group({ everybody: true, protocols: ["reality"] }), 0, ["a", "b", "c"])).toBe(
      "Everybody may use all 3 nodes by REALITY.",
    )
  })

  it("does not list twenty nodes", () => {
    const many = ["a", "b", "c", "d", "e", "f"]
    expect(grantSentence(group({ node_tags: ["x"] }), 1, many)).toBe(
      "1 user may use a, b, c, d, and 2 more by AmneziaWG and REALITY.",
    )
  })

  it("says so where the tags fit no node", () => {
    expect(grantSentence(group({ node_tags: ["moon"] }), 3, [])).toBe("3 users may use no node: none has the tag moon.")
  })
})

describe("words", () => {
  it("shows those of a newer helm as they are", () => {
    expect(wordOf("period", "month")).toBe("each month")
    expect(wordOf("action", "sing")).toBe("sing")
    expect(protocolNames(["amneziawg", "carrier"])).toBe("AmneziaWG and carrier")
  })
})

describe("an import", () => {
  it("gathers what is wrong by line", () => {
    const problem = (line: number, column: string) => ({ line, column, says: "no" })
    const lines = byLine([problem(7, "groups"), problem(3, "name"), problem(7, "quota")])
    expect(lines.map(({ line, problems }) => [line, problems.length])).toEqual([[3, 1], [7, 2]])
  })

  it("writes links that a spreadsheet reads, and leaves out who has none", () => {
    const one = { name: 'Ada "the first", Countess', email: null, link: "pharosvpn://x", link_expires_at: "2026-07-12T14:15:00Z" }
    expect(linksCsv([one, { ...one, link: null }])).toBe(
      'name,email,link,expires\r\n"Ada ""the first"", Countess",,pharosvpn://x,2026-07-12T14:15:00Z\r\n',
    )
  })
})
