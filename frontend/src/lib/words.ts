import { count, list } from "$lib/format"

/**
 * Every sentence of the app, so that a second language is a second file of this type. Facts come in,
 * text comes out; numbers and names are arguments, never glued on by a component.
 */
const one = (n: number, single: string, many: string) => `${count(n)} ${n === 1 ? single : many}`
/** "1 of 2 nodes is", "2 of 2 nodes are", "1 of 1 node is": the verb goes with the part, the noun with the whole. */
const part = (n: number, of: number, noun: string, is: string, are: string) =>
  `${count(n)} of ${one(of, noun, `${noun}s`)} ${n === 1 ? is : are}`
const because = (what: string) => (cause: string | null) => (cause ? `${what}: ${cause}` : what)

export const words = {
  product: "PharosVPN",
  title: (page: string) => `${page} · PharosVPN`,
  skip: "Skip to the content",
  none: "–",

  nav: {
    main: "Main",
    small: "Main, small screen",
    fleet: "Fleet",
    people: "People",
    overview: "Overview",
    nodes: "Nodes",
    relays: "Relays",
    devices: "Devices",
    wanting: (n: number) => `${one(n, "needs", "need")} you`,
  },
  identity: {
    fleet: (id: string) => `Fleet ${id}`,
    helm: (version: string, posture: string) => `helm ${version} · ${posture}`,
  },
  theme: { toLight: "Switch to light", toDark: "Switch to dark" },

  picture: {
    updated: (age: string) => `Updated ${age} ago`,
    connected: "helm answers",
    connecting: "Asking helm",
    offline: "Offline",
    retry: (seconds: number) => `Offline, retry in ${seconds} s`,
    silent: "helm is not answering.",
    error: (status: number) => `helm answered with an error (${status}).`,
    unreadable: "This port answers, but not as helm does.",
    dated: (time: string) => `What you see is from ${time}. Tunnels go on without it.`,
    tryNow: "Try now",
    loading: "Loading the fleet",
    nothingYet: "There is no picture of the fleet yet. This page goes on by itself as soon as helm answers. Tunnels go on without helm.",
  },

  door: {
    title: "Sign in",
    name: "Name",
    password: "Password",
    code: "Code",
    codeHint: "from your authenticator, if you have set one up",
    enter: "Sign in",
    hint: "No password yet? On helm's machine, this prints a link that lets you in once:",
    command: "helm admins link owner",
    wrong: "That did not let you in. Links work once; codes work once, too.",
    often: "Too many tries. Wait a minute, then try again.",
    silent: "helm is not answering. Try again.",
  },

  status: {
    healthy: "Healthy",
    sending: "Sending",
    clock: "Wrong clock",
    engine: "Engine trouble",
    silent: "No answer",
    refused: "Refused",
    crashed: "Fault",
    connecting: "Connecting",
    joining: "Joining",
    draining: "Draining",
    disabled: "Disabled",
    revoked: "Revoked",
    online: "Online",
    offline: "Offline",
    up: "Up",
  },

  say: {
    empty: "The fleet is empty",
    emptyDetail: "helm runs and waits for the first node.",
    well: "All is well",
    asOf: (title: string, time: string) => `${title}, as of ${time}`,
    healthy: (n: number, of: number) => n === 0 ? "No node is healthy" : `${part(n, of, "node", "is", "are")} healthy`,
    allHealthy: (n: number) =>
      n === 1 ? "The node is healthy" : n === 2 ? "Both nodes are healthy" : `All ${count(n)} nodes are healthy`,
    connected: (n: number, of: number) => `${part(n, of, "device", "is", "are")} connected`,
    noDevice: "No device is enrolled yet",
    silent: (names: string[], age: string) =>
      names.length === 1
        ? `${names[0]} has not answered for ${age}`
        : `${list(names)} do not answer, the first for ${age}`,
    refused: (names: string[]) => `${list(names)} ${names.length === 1 ? "refuses" : "refuse"} helm`,
    crashed: (names: string[]) => `helm has a fault with ${list(names)}`,
    clocks: (names: string[]) => `The clock of ${list(names)} is wrong`,
    onTheWay: (names: string[]) => `${list(names)} ${names.length === 1 ? "is" : "are"} on the way`,
    resting: (names: string[]) => `${list(names)} ${names.length === 1 ? "is" : "are"} out of service`,
    goesOn: "Tunnels go on without helm",
    relaysDown: (n: number, of: number) => `${part(n, of, "relay", "does", "do")} not answer`,
  },

  needs: {
    heading: "Needs you",
    nothing: "Nothing. Every link is up.",
    waiting: "Nothing yet.",
    /** By the state of the link; `cause` is helm's own. */
    of: {
      lost: { title: (name: string) => `${name} does not answer`, detail: because("helm goes on dialling") },
      refused: { title: (name: string) => `${name} refuses helm`, detail: because("helm does not dial it again by itself") },
      crashed: { title: (name: string) => `helm has a fault with ${name}`, detail: because("helm tries again; its log says more") },
    },
  },

  link: {
    up: (age: string) => `Control link up for ${age}`,
    lost: (age: string, detail: string | null) => `No answer for ${age}${detail ? `: ${detail}` : ""}`,
    refused: (detail: string | null) => (detail ? `Refused: ${detail}` : "Refused, without a reason"),
    crashed: (age: string, detail: string | null) => `Fault in helm ${age} ago${detail ? `: ${detail}` : ""}`,
    connecting: (age: string) => `Dialling for ${age}`,
    other: (word: string, detail: string | null) => (detail ? `${word}: ${detail}` : word),
  },

  stats: {
    label: "Now",
    nodes: "Nodes healthy",
    relays: "Relays up",
    devices: "Devices connected",
    settings: "Settings in force",
    of: (n: number) => `of ${count(n)}`,
    ofNodes: (n: number) => `of ${one(n, "node", "nodes")}`,
    peers: (n: number) => `${one(n, "peer", "peers")} in force`,
    passages: (n: number) => `${one(n, "passage", "passages")} open`,
    revoked: (n: number) => (n === 0 ? "none revoked" : `${count(n)} revoked`),
    revision: (n: number) => `nothing on its way, revision ${count(n)}`,
    behind: (names: string[]) => `${list(names)} ${names.length === 1 ? "is" : "are"} behind`,
  },

  columns: {
    node: "Node",
    relay: "Relay",
    device: "Device",
    status: "Status",
    address: "Address",
    control: "Control",
    tunnel: "Tunnel",
    ingress: "Ingress",
    peers: "Peers",
    settings: "Settings",
    passages: "Passages",
    link: "Control link",
    tunnelLink: "Tunnel link",
    handshake: "Last handshake",
    enrolled: "Enrolled",
  },
  ports: {
    control: "Control port",
    tunnel: "AmneziaWG",
    tcp: (port: number) => `TCP ${port}`,
    udp: (port: number) => `UDP ${port}`,
  },
  settings: {
    inForce: (revision: number) => `Revision ${revision} is in force`,
    sending: (from: number, to: number) => `Revision ${to} is on its way, ${from} is in force`,
  },
  device: { never: "never" },

  empty: {
    nodes: "No node yet",
    nodesDetail: "A node is any machine with a public address. Add the first one and it appears here.",
    relays: "No relay yet",
    relaysDetail: "A relay is the public way in for devices. Without one they keep the profiles they have.",
    devices: "No device yet",
    devicesDetail: "A device joins with an invitation: a link or a code that works once.",
    events: "No event yet. Handshakes and links show up here by themselves.",
  },
  scrollable: (name: string) => `${name}, scrollable`,
  all: (n: number) => `All ${count(n)}`,
  events: {
    heading: "Events",
    handshake: (node: string | null) => (node ? `handshake on ${node}` : "handshake"),
    connected: (node: string | null) => (node ? `connected to ${node}` : "connected"),
    disconnected: (node: string | null) => (node ? `left ${node}` : "left"),
    gap: "lost some events",
    linkConnecting: "is being dialled",
    linkUp: "answers",
    linkLost: "does not answer",
    linkRefused: "refuses helm",
    linkCrashed: "met a fault in helm",
    unreachable: "has not answered for 45 s",
    added: "added",
    invited: (forWhom: string) => `Invitation made ${forWhom}`,
    enrolled: "enrolled",
    revoked: "revoked",
  },
  broken: {
    heading: "This page could not be drawn",
    detail: "That is a fault of the page; the fleet is not touched. Load it again, and report it if it stays.",
    again: "Load again",
  },
  missing: { heading: "No such page", detail: "The address may be from a newer helm.", back: "To the overview" },
} as const
