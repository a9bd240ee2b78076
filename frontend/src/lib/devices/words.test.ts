import { createHash } from "node:crypto"
import { describe, expect, it } from "vitest"
import { drawWords } from "./words"
import WORDS from "./wordlist"

describe("words", () => {
  it("are those that helm and caravel have, in an order that stands", () => {
    expect(new Set(WORDS).size).toBe(256)
    // As tests/wire/seal/test_words.py has it.
    const digest = createHash("sha256").update(WORDS.join(" ")).digest("hex")
    expect(digest).toBe("76c409e0c679909cca69ac805481eb9fb9de3778291650fc65b6a4158af3efd2")
  })

  it("are drawn anew for each passphrase", () => {
    const drawn = drawWords(8)
    expect(drawn.split("-")).toHaveLength(8)
    expect(drawn.split("-").every((word) => WORDS.includes(word))).toBe(true)
    expect(drawWords(8)).not.toBe(drawn)
  })
})
