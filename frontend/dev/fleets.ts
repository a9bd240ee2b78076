import type { Device, FleetEvent, Node, Relay, Status } from "../src/lib/api/types"

/**
 * Invented fleets for developers and unit tests. Times are milliseconds since the epoch: `now` moves from
 * picture to picture, `born` is when the invention began, so that the past stays where it is.
 */
export type Scenario = "calm" | "trouble" | "empty" | "large"

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const ago = (now: number, ms: number) => new Date(now - ms).toISOString()

export function node(now: number, name: string, facts: Partial<Node> = {}): Node {
  return {
    id: `node-${name}`,
    name,
    address: "192.0.2.10",
    control_port: 8443,
    tags: [],
    state: "active",
    link: "up",
    since: ago(now, 3 * HOUR + 20 * MINUTE),
    detail: null,
    unreachable: false,
    clock_skew_ms: 0,
    applied_revision: 12,
    desired_revision: 12,
    peers: 2,
    awg_port: 443,
    engines: [],
    machine: null,
    ...facts,
  }
}

export function relay(now: number, name: string, facts: Partial<Relay> = {}): Relay {
  return {
    id: `relay-${name}`,
    name,
    address: "198.51.100.7",
    ingress_port: 8443,
    tunnel_port: 8444,
    link: "up",
    since: ago(now, 3 * HOUR + 19 * MINUTE),
    detail: null,
    unreachable: false,
    clock_skew_ms: 0,
    passages: 1,
    ...facts,
  }
}

/** `seen`: how long ago the last handshake was, in milliseconds. */
export function device(now: number, name: string, seen: number | null, facts: Partial<Device> = {}): Device {
  return {
    id: `device-${name}`,
    name,
    state: "active",
    created_at: ago(now, 40 * 24 * HOUR),
    last_handshake_at: seen === null ? null : ago(now, seen),
    node: seen === null ? null : "node-cellar",
    ...facts,
  }
}

export function fleet(now: number, lists: Partial<Status> = {}): Status {
  return {
    fleet: { id: "3f9ac01b227710de", posture: "personal" },
    version: "0.1.0",
    started_at: ago(now, 3 * HOUR + 21 * MINUTE),
    nodes: [],
    relays: [],
    devices: [],
    events: [],
    ...lists,
  }
}

/** `age`: how long ago it was, in milliseconds; its sequence follows from the time, as in a real log. */
export function event(now: number, age: number, kind: string, facts: Partial<FleetEvent> = {}): FleetEvent {
  return { sequence: now - age, at: ago(now, age), kind, node: null, device: null, text: kind, ...facts }
}

/** The last handshake of each device that is connected. */
function handshakes(now: number, devices: Device[]): FleetEvent[] {
  return devices.flatMap(({ id, node, last_handshake_at: at }) => {
    const age = at === null ? Infinity : now - Date.parse(at)
    return age < 3 * MINUTE ? [event(now, age, "handshake", { device: id, node })] : []
  })
}

/** The age of a handshake that is renewed every two minutes, `offset` into its turn. */
const beating = (now: number, offset: number) => (now + offset) % (2 * MINUTE)

function household(now: number, born: number): Device[] {
  return [
    device(now, "Ida’s phone", beating(now, 0)),
    device(now, "Ida’s laptop", beating(now, 50_000)),
    device(now, "Noor’s phone", beating(now, 75_000), { node: "node-harbour" }),
    device(now, "Media box", beating(now, 100_000), { node: "node-harbour" }),
    device(born, "Kids’ tablet", 5 * HOUR),
    device(born, "Old phone", 90 * 24 * HOUR, { state: "revoked" }),
    device(born, "Guest", null, { created_at: ago(born, 4 * MINUTE) }),
  ]
}

function past(born: number): FleetEvent[] {
  return [
    event(born, 4 * MINUTE, "device_enrolled", { device: "device-Guest" }),
    event(born, 26 * MINUTE, "connected", { device: "device-Noor’s phone", node: "node-harbour" }),
    event(born, 30 * MINUTE, "disconnected", { device: "device-Noor’s phone", node: "node-cellar" }),
    event(born, 3 * HOUR + 19 * MINUTE, "link_up", { node: "relay-quay" }),
    event(born, 3 * HOUR + 20 * MINUTE, "link_up", { node: "node-harbour" }),
    event(born, 3 * HOUR + 20 * MINUTE + 1, "link_up", { node: "node-cellar" }),
    event(born, 5 * HOUR, "disconnected", { device: "device-Kids’ tablet", node: "node-cellar" }),
    event(born, 30 * HOUR, "device_revoked", { device: "device-Old phone" }),
    event(born, 31 * HOUR, "backup", { text: "Backup written, 412 KiB" }),
  ]
}

function large(now: number, born: number): Status {
  const nodes = Array.from({ length: 14 }, (_, i) =>
    node(born, `node-${i + 1}`, { address: `203.0.113.${i + 10}`, tags: [i % 2 ? "asia" : "europe"], peers: 40 + 7 * i }),
  )
  Object.assign(nodes[3] ?? {}, { link: "lost", since: ago(born, 4 * MINUTE), detail: "timed out after 15 s" })
  Object.assign(nodes[8] ?? {}, { applied_revision: 11 })
  const devices = Array.from({ length: 213 }, (_, i) => device(now, `device-${i + 1}`, i % 5 ? beating(now, 901 * i) : null))
  return fleet(born, { nodes, relays: [relay(born, "quay")], devices, events: handshakes(now, devices) })
}

const SCENARIOS: Record<Scenario, (now: number, born: number) => Status> = {
  empty: (_now, born) => fleet(born),
  large,
  calm(now, born) {
    const devices = household(now, born)
    return fleet(born, {
      nodes: [
        node(born, "cellar", { tags: ["eu"], address: "192.0.2.10" }),
        node(born, "harbour", { tags: ["eu", "fast"], address: "203.0.113.31", peers: 4 }),
      ],
      relays: [relay(born, "quay")],
      devices,
      events: [...past(born), ...handshakes(now, devices)],
    })
  },
  trouble(now, born) {
    const devices = household(now, born)
    return fleet(born, {
      nodes: [
        node(born, "cellar", { tags: ["eu"], applied_revision: 11, desired_revision: 12 }),
        node(born, "harbour", {
          tags: ["eu", "fast"],
          address: "203.0.113.31",
          link: "lost",
          since: ago(born, 4 * MINUTE + 8_000),
          detail: "connect to 203.0.113.31:8443 timed out after 15 s",
        }),
        node(born, "mole", { link: "refused", since: ago(born, 26 * MINUTE), detail: "its certificate is of another fleet" }),
        node(born, "jetty", { state: "joining", link: "connecting", since: ago(born, 3_000), applied_revision: 0, peers: 0 }),
      ],
      relays: [
        relay(born, "quay"),
        relay(born, "pier", { link: "lost", since: ago(born, 2 * MINUTE), detail: "connection refused", passages: 0 }),
      ],
      devices,
      events: [...past(born), event(born, 4 * MINUTE + 8_000, "link_lost", { node: "node-harbour" }), ...handshakes(now, devices)],
    })
  },
}

export const SCENARIO_NAMES = Object.keys(SCENARIOS) as Scenario[]

export const scenario = (name: Scenario, now: number, born: number): Status => SCENARIOS[name](now, born)
