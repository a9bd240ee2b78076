import { describe, expect, it } from "vitest"
import { NODE_FIELDS, RELAY_FIELDS, SettingsForm } from "./settings.svelte"
import type { NodeRecord } from "./types"

const record = (more: Partial<NodeRecord> = {}): NodeRecord =>
  ({
    id: "0199",
    version: 4,
    name: "fra-1",
    address: "203.0.113.14",
    place: "Frankfurt",
    latitude: 50.11,
    longitude: 8.68,
    tags: ["eu"],
    note: "",
    control_port: 7443,
    awg_port: 443,
    spare_ports: [2053],
    ssh_destination: "",
    ...more,
  }) as NodeRecord
const form = (more: Partial<NodeRecord> = {}) => new SettingsForm(NODE_FIELDS, "/nodes/0199", record(more))

describe("the form of a node", () => {
  it("begins with what is stored, and has nothing to save", () => {
    const one = form()
    expect(one.draft["coordinates"]).toBe("50.11, 8.68")
    expect(one.draft["tags"]).toBe("eu")
    expect(one.dirty).toEqual([])
    expect(one.changes).toEqual({})
  })

  it("sends what differs alone, in helm's words", () => {
    const one = form()
    one.draft["note"] = " rack 4 "
    one.draft["tags"] = "eu, fast"
    one.draft["coordinates"] = "50.11, 9"
    one.draft["awg_port"] = "4443"
    expect(one.changes).toEqual({ note: "rack 4", tags: ["eu", "fast"], longitude: 9, awg_port: 4443 })
  })

  it("takes a place off the map by emptying it", () => {
    const one = form()
    one.draft["coordinates"] = ""
    expect(one.changes).toEqual({ latitude: null, longitude: null })
  })

  it("says which fields are not understood", () => {
    const one = form()
    one.draft["coordinates"] = "north"
    one.draft["control_port"] = "70000"
    one.draft["name"] = " "
    one.draft["ssh_destination"] = "root@"
    expect(one.wrong.toSorted()).toEqual(["control_port", "coordinates", "name", "ssh_destination"])
  })

  it("follows the record only while nothing is typed", () => {
    const one = form()
    one.changed(record({ version: 5, note: "theirs" }))
    expect(one.draft["note"]).toBe("theirs")
    one.draft["note"] = "mine"
    one.changed(record({ version: 6, note: "theirs again" }))
    expect(one.draft["note"]).toBe("mine")
    expect(one.dirty).toEqual(["note"])
  })

  it("has only fields of its kind for a relay", () => {
    const keys = RELAY_FIELDS.map((field) => field.key)
    expect(keys).toContain("ingress_port")
    expect(keys).not.toContain("tags")
  })
})
