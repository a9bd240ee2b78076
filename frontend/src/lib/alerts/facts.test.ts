import { describe, expect, it } from "vitest"
import type { Alert } from "$lib/api/types"
import en from "$lib/i18n/catalogue"
import { fits, kindName, kindOptions, KINDS, placeOf, sentence, severityMark, weight } from "./facts"

const alert = (more: Partial<Alert> = {}): Alert => ({
  id: "a", version: 1, created_at: "", updated_at: "", updated_by: "", kind: "disk_low", severity: "warning", state: "open",
  noun: "", subject: "", text: "fra-1 has 180 MB left", evidence: {}, opened_at: "2026-07-12T14:00:00Z",
  acknowledged_at: null, acknowledged_by: null, resolved_at: null, ...more,
})

describe("the sentence", () => {
  it("counts what is open, how much of it is critical, and what somebody is at", () =>
    expect(sentence([alert(), alert({ severity: "critical" }), alert({ state: "acknowledged" })])).toEqual({
      title: "2 alerts need you",
      detail: "1 is critical. Somebody is at 1 more.",
    }))

  it("needs nobody where somebody is at all of it, or nothing stands", () => {
    expect(sentence([alert({ state: "acknowledged" })]).title).toBe("Somebody is at the only alert that stands")
    expect(sentence([]).title).toBe("No alert stands")
  })
})

it.each(KINDS)("has a name for %s", (kind) => expect(en).toHaveProperty([`alerts.kind.${kind}`]))

it("shows words of a newer helm as they are, and never as harmless", () => {
  expect(kindName("comet_near")).toBe("comet near")
  expect(severityMark("grave")).toEqual({ shape: "warn", word: "grave" })
  expect(kindOptions(["comet_near"]).map(({ value }) => value)).toContain("comet_near")
})

it("stands worst first, what somebody is at last", () => {
  const order = [alert({ severity: "critical", state: "acknowledged" }), alert({ severity: "info" }), alert({ severity: "critical" })]
  expect(order.toSorted((a, b) => weight(a) - weight(b)).map(({ severity, state }) => `${severity} ${state}`)).toEqual([
    "critical open",
    "info open",
    "critical acknowledged",
  ])
})

it("leads to what it is about, where that has a page", () => {
  expect(placeOf(alert({ noun: "node", subject: "n1" }))).toBe("/nodes/n1")
  expect(placeOf(alert({ noun: "user", subject: "u1" }))).toBe("/users?open=u1")
  expect(placeOf(alert())).toBeNull()
})

it("is found by words of its text and its kind, and by name", () => {
  const fit = (q: string, named: Record<string, string> = {}) => fits(alert(), { q, named })
  expect(fit("fra-1 disk")).toBe(true)
  expect(fit("tokyo")).toBe(false)
  expect(fit("", { severity: "Warning", kind: "disk_low" })).toBe(true)
  expect(fit("", { state: "acknowledged" })).toBe(false)
})
