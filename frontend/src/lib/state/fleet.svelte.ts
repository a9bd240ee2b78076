import { SvelteMap } from "svelte/reactivity"
import type { Alert, Counts, Delta, FleetEvent, FleetFigures, Member, Node, NodeFigures, Relay, Snapshot } from "$lib/api/types"
import { hold } from "./hold.svelte"
import { washes } from "./wash.svelte"

const EVENTS_KEPT = 200

type LinkPart = Partial<Pick<Member, "link" | "since" | "detail" | "unreachable" | "clock_skew_ms">>

/** Ways for tables and pages to hear of what the picture does not hold: changes of records by noun, and events. */
export type DeltaTold = (delta: Delta) => void
export type EventTold = (event: FleetEvent) => void

/** The picture of the fleet: what the live feed said, applied in order, once per frame. */
class Fleet {
  /** Null until the first picture. */
  head: Omit<Snapshot, "nodes" | "relays" | "events" | "alerts" | "counts" | "figures"> | null = $state.raw(null)
  readonly nodes = new SvelteMap<string, Node>()
  readonly relays = new SvelteMap<string, Relay>()
  readonly alerts = new SvelteMap<string, Alert>()
  readonly figures = new SvelteMap<string, NodeFigures>()
  total: FleetFigures | null = $state.raw(null)
  counts: Counts | null = $state.raw(null)
  /** Newest first. */
  events: FleetEvent[] = $state.raw([])
  /** When the last word of helm came, by this machine's clock; the picture is of then. */
  heardAt = $state(0)

  #changes: FleetEvent[] = []
  #told = 0
  readonly #deltaTold = new Map<string, Set<DeltaTold>>()
  readonly #eventTold = new Set<EventTold>()
  readonly #redrawn = new Set<() => void>()

  /** Calls `told` for each change of a record of this noun ("device", "user" …); returns the end of it. */
  onDelta(noun: string, told: DeltaTold): () => void {
    const set = this.#deltaTold.get(noun) ?? new Set()
    this.#deltaTold.set(noun, set.add(told))
    return () => void set.delete(told)
  }

  onEvent(told: EventTold): () => void {
    this.#eventTold.add(told)
    return () => void this.#eventTold.delete(told)
  }

  /** Calls `told` when a new picture has come and everything that is shown has to be read again. */
  onPicture(told: () => void): () => void {
    this.#redrawn.add(told)
    return () => void this.#redrawn.delete(told)
  }

  nodeName(id: string | null): string | null {
    return id === null ? null : (this.nodes.get(id)?.name ?? this.relays.get(id)?.name ?? null)
  }

  /** A whole picture, without a wash: nobody saw what happened before it. */
  show(picture: Snapshot): void {
    const { nodes, relays, events, alerts, counts, figures, ...head } = picture
    this.head = head
    replace(this.nodes, nodes)
    replace(this.relays, relays)
    replace(this.alerts, alerts ?? [])
    this.counts = counts ?? null
    for (const id of [...this.figures.keys()]) if (!figures?.nodes[id]) this.figures.delete(id)
    for (const [id, figure] of Object.entries(figures?.nodes ?? {})) this.figures.set(id, figure)
    this.total = figures?.fleet ?? null
    this.events = events.toSorted((a, b) => b.sequence - a.sequence).slice(0, EVENTS_KEPT)
    for (const told of this.#redrawn) told()
  }

  /** Leaves nothing of the picture: whoever looks next may be somebody else, of another role. */
  forget(): void {
    this.head = null
    for (const map of [this.nodes, this.relays, this.alerts, this.figures]) map.clear()
    this.counts = null
    this.total = null
    this.events = []
    this.#changes.length = 0
  }

  linksStand(links: Record<string, LinkPart>): void {
    for (const [id, part] of Object.entries(links)) this.#mend(id, part)
  }

  figuresCame(part: { nodes?: Record<string, NodeFigures>; fleet?: FleetFigures }): void {
    for (const [id, figure] of Object.entries(part.nodes ?? {})) {
      this.figures.set(id, figure)
      this.#mend(id, { last_word_at: new Date().toISOString() })
    }
    if (part.fleet) this.total = part.fleet
  }

  applyDelta(delta: Delta): void {
    this.#keep(delta)
    this.#changes.push(this.#eventOf(delta))
    if (this.#changes.length > EVENTS_KEPT) this.#changes.shift()
    for (const told of this.#deltaTold.get(delta.noun) ?? []) told(delta)
    for (const told of this.#deltaTold.get("*") ?? []) told(delta)
    washes.mark(delta.id, Date.now(), hold.on)
  }

  applyEvents(came: FleetEvent[]): void {
    const changes = this.#changes.splice(0)
    // What happened while the picture was taken is in it, and comes once more behind it.
    const known = new Set(this.events.map((event) => event.sequence))
    const events = came.filter((event) => !known.has(event.sequence))
    if (!events.length && !changes.length) return
    this.events = [...changes.toReversed(), ...events.toReversed(), ...this.events].slice(0, EVENTS_KEPT)
    for (const { sequence } of changes) washes.mark(`event ${sequence}`)
    for (const event of events) {
      this.#linkChanged(event)
      for (const told of this.#eventTold) told(event)
      const subject = event.device ?? event.node
      if (subject !== null) washes.mark(subject, Date.now(), hold.on)
      washes.mark(`event ${event.sequence}`)
    }
  }

  /** A change of the record as an event: helm remembers it as one for the pages that open later. */
  #eventOf({ at, kind, id, record, detail }: Delta): FleetEvent {
    this.#told += 1
    const device = kind.startsWith("device_") ? id : null
    return {
      // helm's own numbers are of what passes and is in no record; no two are the same.
      sequence: -this.#told,
      at,
      kind,
      node: kind.startsWith("node_") || kind.startsWith("relay_") ? id : null,
      device,
      name: device && typeof record?.["name"] === "string" ? record["name"] : null,
      text: detail,
    }
  }

  #keep(delta: Delta): void {
    const map = { node: this.nodes, relay: this.relays, alert: this.alerts }[delta.noun] as
      | SvelteMap<string, { id: string; version: number }>
      | undefined
    if (!map) return
    const known = map.get(delta.id)
    if (delta.record === null) map.delete(delta.id)
    else if (known && delta.version !== null && known.version > delta.version) return
    else if (known || delta.noun === "alert") map.set(delta.id, { ...known, ...delta.record } as { id: string; version: number })
    else map.set(delta.id, { ...UNSEEN, ...delta.record } as unknown as { id: string; version: number })
    if (delta.noun === "alert" && delta.record?.["state"] === "resolved") map.delete(delta.id)
  }

  /** What an event says of a link stands until the next figures or picture. */
  #linkChanged(event: FleetEvent): void {
    if (event.node === null) return
    const [kind, state] = [event.kind.slice(0, 5), event.kind.slice(5)]
    if (kind === "link_") {
      const cause = event.text.includes(": ") ? event.text.slice(event.text.indexOf(": ") + 2) : null
      this.#mend(event.node, { link: state, since: event.at, detail: cause, ...(state === "up" ? { unreachable: false } : {}) })
    } else if (event.kind === "unreachable") this.#mend(event.node, { unreachable: true })
  }

  #mend(id: string, part: Partial<Node>): void {
    const node = this.nodes.get(id)
    if (node) this.nodes.set(id, { ...node, ...part })
    const relay = this.relays.get(id)
    if (relay) this.relays.set(id, { ...relay, ...(part as Partial<Relay>) })
  }
}

/** What is not recorded of a member that has just been added. */
const UNSEEN = {
  link: "connecting",
  since: new Date(0).toISOString(),
  detail: null,
  unreachable: false,
  clock_skew_ms: 0,
  agent_version: null,
  certificate_ends_at: null,
  last_word_at: null,
  engines: [],
  machine: null,
  applied_revision: 0,
  desired_revision: 0,
  peers: 0,
  tags: [],
  aboard: false,
  passages: 0,
  accepted: 0,
  refused: 0,
  last_error: null,
  last_error_at: null,
  place: "",
  latitude: null,
  longitude: null,
  note: "",
}

function replace<T extends { id: string }>(map: SvelteMap<string, T>, items: T[]): void {
  const ids = new Set(items.map((item) => item.id))
  for (const id of [...map.keys()]) if (!ids.has(id)) map.delete(id)
  for (const item of items) map.set(item.id, item)
}

export const fleet = new Fleet()
