import { describe, expect, it } from "vitest"
import type { UserRecord } from "./records"
import { UserForm } from "./userform.svelte"

const ada = {
  id: "u",
  version: 4,
  name: "Ada",
  email: "ada@example.org",
  state: "active",
  note: "",
  expires_at: "2026-12-31T23:59:59Z",
  device_limit: 3,
  quota_bytes: 50_000_000_000,
  quota_period: "month",
  quota_action: "cut",
  groups: [],
  passphrase_set: false,
} as unknown as UserRecord

describe("the form of a person", () => {
  it("changes nothing while nothing was typed", () => {
    const form = new UserForm(ada)
    expect(form.changes).toEqual({})
    expect(form.fits).toBe(true)
  })

  it("sends what was changed and nothing else, emptied fields as none", () => {
    const form = new UserForm(ada)
    form.quota = "60 GB"
    form.devices = ""
    form.email = " "
    expect(form.changes).toEqual({ quota_bytes: 60_000_000_000, device_limit: null, email: null })
  })

  it("tells what it cannot read", () => {
    const form = new UserForm()
    form.email = "ada at home"
    form.devices = "many"
    form.quota = "a lot"
    expect(form.fits).toBe(false)
    expect(Object.values(form.wrong).filter(Boolean)).toHaveLength(4)
  })
})
