import { describe, expect, it } from "vitest"
import type { Relay } from "$lib/api/types"
import { relaysSentence } from "./sentence"

const relay = (name: string, more: Partial<Relay> = {}): Relay =>
  ({ id: name, name, state: "active", link: "up", unreachable: false, passages: 0, ...more }) as Relay

describe("the sentence of relays", () => {
  it("names those that carry clients", () => {
    expect(relaysSentence([relay("gate", { passages: 2 }), relay("back")])).toEqual({
      title: "gate carries clients now",
      detail: "2 sessions between devices and helm go through them.",
    })
  })

  it("counts them where they are many", () => {
    const many = ["a", "b", "c", "d"].map((name) => relay(name, { passages: 1 }))
    expect(relaysSentence(many).title).toBe("4 relays carry clients now")
  })

  it("says that nobody comes through, which is no fault", () => {
    expect(relaysSentence([relay("gate")]).title).toBe("No relay carries a client now")
  })

  it("tells which do not answer", () => {
    const said = relaysSentence([relay("gate", { link: "lost" }), relay("back", { passages: 1 })])
    expect(said.title).toBe("back carries clients now")
    expect(said.detail).toBe("gate does not answer. Devices take another relay.")
  })

  it("is plain where none answers, and leaves out who is out of service", () => {
    const said = relaysSentence([relay("gate", { link: "lost" }), relay("old", { state: "disabled" })])
    expect(said.title).toBe("No relay answers")
  })
})
