import { describe, expect, it } from "vitest"
import type { Alert, Counts, Node, Relay } from "$lib/api/types"
import { calm, needs, sentence, settingsCount, settingsNote, type Facts } from "./overview"

const NOW = Date.parse("2026-07-12T14:02:11Z")
const ago = (ms: number) => new Date(NOW - ms).toISOString()

const member = (name: string) => ({
  id: name,
  version: 1,
  name,
  address: "192.0.2.1",
  state: "active",
  link: "up",
  since: ago(3_600_000),
  detail: null,
  unreachable: false,
  clock_skew_ms: 0,
  agent_version: "1.0.0",
  certificate_ends_at: null,
  last_word_at: null,
  place: "",
  latitude: null,
  longitude: null,
  note: "",
})
const node = (name: string, more: Partial<Node> = {}): Node => ({
  ...member(name),
  control_port: 7443,
  awg_port: 443,
  tags: [],
  engines: [],
  machine: null,
  applied_revision: 418,
  desired_revision: 418,
  peers: 0,
  ...more,
})
const relay = (name: string, more: Partial<Relay> = {}): Relay => ({
  ...member(name),
  aboard: false,
  ingress_port: 443,
  tunnel_port: 444,
  passages: 0,
  accepted: 0,
  refused: 0,
  last_error: null,
  last_error_at: null,
  ...more,
})
const counts = (more: Partial<Counts> = {}): Counts => ({
  devices: { all: 6, online: 4, disabled: 0, revoked: 1, stale: 0 },
  users: 3,
  groups: 0,
  profiles: { synced: 5, sending: 0, stale: 0 },
  sessions: 4,
  alerts: 0,
  tickets: 0,
  adoptions: 0,
  admins: 1,
  ...more,
})
const alert = (kind: string, more: Partial<Alert> = {}): Alert => ({
  id: `alert ${kind}`,
  version: 1,
  created_at: ago(60_000),
  updated_at: ago(60_000),
  updated_by: "helm",
  kind,
  severity: "warning",
  state: "open",
  noun: "",
  subject: "",
  text: `${kind} is so`,
  evidence: {},
  opened_at: ago(60_000),
  acknowledged_at: null,
  acknowledged_by: null,
  resolved_at: null,
  ...more,
})
const facts = (more: Partial<Facts> = {}): Facts => ({
  nodes: [],
  relays: [],
  alerts: [],
  counts: counts(),
  beaconWarning: null,
  ...more,
})
const lost = { link: "lost", since: ago(240_000), detail: "timed out" }

function said(more: Partial<Facts>) {
  const { title, detail } = sentence(facts(more), NOW)
  return { title, detail: detail.replaceAll("\u00a0", " ") }
}

describe("the sentence of the overview", () => {
  it("says so when all is well", () =>
    expect(said({ nodes: [node("cellar"), node("harbour")] })).toEqual({
      title: "All is well",
      detail: "Both nodes are healthy. 4 of 5 devices are connected.",
    }))

  it("counts and names what is wrong, and says that tunnels go on", () =>
    expect(said({ nodes: [node("cellar"), node("harbour", lost), node("mole", { link: "refused" })] })).toEqual({
      title: "1 of 3 nodes is healthy",
      detail:
        "harbour has not answered for 4 min 00 s. mole is not who it should be. 4 of 5 devices are connected." +
        " Tunnels go on without helm.",
    }))

  it("does not count to one", () =>
    expect(said({ nodes: [node("cellar", lost)] }).title).toBe("The node is not healthy"))

  it("says of many how many, and the longest time", () => {
    const down = ["a", "b", "c", "d"].map((name, at) => node(name, { ...lost, since: ago(60_000 * (at + 1)) }))
    expect(said({ nodes: [node("e"), ...down] }).detail).toContain("a, b and 2 more have not answered for 4 min 00 s.")
  })

  it("calls nobody ill while new settings are on their way", () =>
    expect(said({ nodes: [node("a", { applied_revision: 417 }), node("b")] }).title).toBe("All is well"))

  it("leaves out of the count what an admin took out of service", () =>
    expect(said({ nodes: [node("a"), node("old", { state: "disabled", link: "lost" })] }).title).toBe("All is well"))

  it("never calls a fleet well while a relay is down", () => {
    const { title, detail } = said({ nodes: [node("a")], relays: [relay("quay"), relay("pier", lost)] })
    expect(title).toBe("The node is healthy")
    expect(detail).toContain("1 of 2 relays does not answer: pier.")
  })

  it("never calls a fleet well while something needs a person", () =>
    expect(said({ nodes: [node("a")], alerts: [alert("backup_overdue")] }).title).toBe("The node is healthy"))

  it("does not alarm about a node that joins or drains", () => {
    const nodes = [node("jetty", { state: "joining", link: "connecting" }), node("bom-1", { state: "draining" })]
    expect(said({ nodes }).detail).toBe(
      "bom-1 takes no new sessions. jetty is joining. 4 of 5 devices are connected.",
    )
  })

  it("knows the empty fleet, and the one that rests", () => {
    expect(said({}).title).toBe("The fleet is empty")
    expect(said({ nodes: [node("a", { state: "disabled" })] }).title).toBe("a is out of service")
  })

  it("says where no device is", () =>
    expect(said({ nodes: [node("a")], counts: counts({ devices: { all: 1, online: 0, disabled: 0, revoked: 1, stale: 0 } }) }).detail).toBe(
      "The node is healthy. No device is enrolled yet.",
    ))
})

describe("what needs a person", () => {
  it("is a node whose processors cannot keep up, with what would help", () => {
    const machine = { load: 3.9, load5: 3.8, processors: 4, memory_bytes: null, memory_available_bytes: null, disk_bytes: null, disk_free_bytes: null }
    const engine = (driver: string) => [{ protocol: "amneziawg", driver, trouble: null }]
    const busy = [node("sao-1", { machine, engines: engine("userspace") }), node("fra-1", { machine, engines: engine("kernel") })]
    const [first, second] = needs(facts({ nodes: busy }))
    expect([first?.title, first?.shape]).toEqual(["sao-1 is busy", "warn"])
    expect(first?.detail.replaceAll("\u00a0", " ")).toMatch(/is 95 % of what .* user space/)
    expect(second?.detail).not.toContain("user space")
  })

  it("is sorted worst first, then by age", () => {
    const found = needs(
      facts({
        nodes: [node("a", { ...lost, since: ago(60_000) }), node("b", lost), node("c", { clock_skew_ms: 400_000 })],
        alerts: [alert("devices_new", { severity: "info" }), alert("disk_low", { severity: "critical", opened_at: ago(9e6) })],
        counts: counts({ profiles: { synced: 0, sending: 0, stale: 27 } }),
      }),
    )
    expect(found.map((need) => need.id)).toEqual(["alert disk_low", "b", "a", "c", "stale", "alert devices_new"])
  })

  it("says the cause, what happens next and what can be done", () =>
    expect(needs(facts({ nodes: [node("syd-1", lost)] }))[0]).toMatchObject({
      shape: "bad",
      title: "syd-1 does not answer",
      detail: "Timed out. helm goes on dialling.",
      acts: [{ does: "open", href: "/nodes/syd-1" }, { does: "redial", node: "syd-1" }],
    }))

  it("tells one thing once: the alert about a silent node is the node", () => {
    const alerts = [alert("unreachable", { noun: "node", subject: "syd-1" })]
    expect(needs(facts({ nodes: [node("syd-1", lost)], alerts }))).toHaveLength(1)
    expect(needs(facts({ nodes: [node("syd-1")], alerts }))[0]!.id).toBe("alert unreachable")
    const stale = counts({ profiles: { synced: 0, sending: 0, stale: 2 } })
    expect(needs(facts({ counts: stale, alerts: [alert("devices_stale")] })).map((need) => need.id)).toEqual(["stale"])
  })

  it("leaves out what somebody is at", () =>
    expect(needs(facts({ alerts: [alert("disk_low", { state: "acknowledged" })] }))).toEqual([]))

  it("leads from an alert to what it is about, or to the alert", () => {
    const [about, bare] = needs(
      facts({ alerts: [alert("quota_used", { noun: "user", subject: "u1", opened_at: ago(99_000) }), alert("backup_overdue")] }),
    )
    expect(about!.acts[0]).toMatchObject({ href: "/users?open=u1" })
    expect(bare!.acts[0]).toMatchObject({ href: "/alerts?open=alert backup_overdue" })
  })

  it("names engines that do not do what they were told", () => {
    const engines = [{ protocol: "amneziawg", driver: "kernel", trouble: "the module is missing" }]
    expect(needs(facts({ nodes: [node("a", { engines })] }))[0]).toMatchObject({ shape: "warn", detail: "The module is missing." })
  })

  it("is nothing for what is on its way or out of service", () => {
    const nodes = [node("a", { link: "connecting" }), node("b", { state: "revoked", link: "refused" }), node("c", { state: "joining" })]
    expect(needs(facts({ nodes }))).toEqual([])
  })

  it("takes helm's own relay and strangers into account", () =>
    expect(needs(facts({ beaconWarning: "port 443 is taken", counts: counts({ adoptions: 2 }) })).map((need) => need.title)).toEqual([
      "This machine’s own relay has a problem",
      "2 strangers wait to be adopted",
    ]))
})

it("calm says when the next certificate renews", () => {
  expect(calm([node("a", { certificate_ends_at: ago(-88 * 86_400_000) })], NOW)).toContain("within 88\u00a0d")
  expect(calm([node("a")], NOW)).toBe("Nothing.")
})

describe("settings in force", () => {
  const nodes = [node("a"), node("bom-1", { state: "draining" }), node("syd-1", { applied_revision: 417 }), node("old", { state: "revoked" })]

  it("are counted of those in service", () => expect(settingsCount(nodes)).toEqual({ held: 2, of: 3, revision: 418 }))

  it("name who drains and who waits", () => {
    expect(settingsNote(nodes)).toBe("bom-1 draining · syd-1 waits")
    expect(settingsNote([node("a")])).toBe("on every node")
  })
})
