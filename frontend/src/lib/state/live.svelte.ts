import { api, csrfToken } from "$lib/api/client"
import type { Counts, Delta, FleetEvent, FleetFigures, Member, NodeFigures, Snapshot } from "$lib/api/types"
import { fleet } from "./fleet.svelte"
import { session } from "./session.svelte"

/** A lost helm is asked after 1, 2, 4, 8, then every 10 s: it is on this machine, a question is cheap. */
const FIRST_RETRY = 1_000
const LONGEST_RETRY = 10_000
/** Two pings of helm; a socket that is silent for longer is dead, whatever the system thinks of it. */
const LONGEST_SILENCE = 45_000
const TICK = 1_000
/** A tick that comes so late was slept through. */
const SLEPT = 10_000
/** While nobody sees the page there are no frames. */
const HIDDEN_EVERY = 1_000

const SIGNED_OUT = 4401
const ROLE_CHANGED = 4403

export type LiveState = "connecting" | "live" | "catching" | "offline"

interface Message {
  snapshot?: Snapshot
  links?: Record<string, Partial<Member>>
  deltas?: Delta[]
  events?: FleetEvent[]
  figures?: { nodes?: Record<string, NodeFigures>; fleet?: FleetFigures }
  counts?: Counts
  gap?: { from: number; to: number }
  sequence?: number
  epoch?: number
}

/** The one socket: a picture, then what happens, in order; gathered and applied once per frame. */
export class Live {
  state: LiveState = $state("connecting")
  /** When the next attempt is due; meaningful while offline. */
  retryAt = $state(0)
  /** Changes that were missed and have come since the socket is back. */
  caught = $state(0)

  #socket: WebSocket | null = null
  #queue: Message[] = []
  #scheduled = false
  #sequence: number | null = null
  #epoch: number | null = null
  #failures = 0
  #retry: ReturnType<typeof setTimeout> | undefined
  #ticker: ReturnType<typeof setInterval> | undefined
  #ticked = 0
  #heard = 0
  #running = false

  /** The moment the picture is about: ages stand still when it cannot be renewed. */
  asOf(now: number): number {
    return this.state === "offline" || this.state === "catching" ? fleet.heardAt : now
  }

  get offline(): boolean {
    return this.state === "offline"
  }

  /** Follows helm until the returned function is called. */
  start(): () => void {
    this.#running = true
    this.#ticked = Date.now()
    this.#ticker = setInterval(() => this.#tick(), TICK)
    const wake = () => {
      if (!document.hidden) this.#tick()
    }
    const online = () => this.tryNow()
    document.addEventListener("visibilitychange", wake)
    addEventListener("online", online)
    this.#open()
    return () => {
      this.#running = false
      clearInterval(this.#ticker)
      clearTimeout(this.#retry)
      document.removeEventListener("visibilitychange", wake)
      removeEventListener("online", online)
      this.#drop()
      this.#sequence = this.#epoch = null
      this.#failures = 0
      this.state = "connecting"
      fleet.forget()
    }
  }

  /** Connects at once instead of at the next turn. */
  tryNow(): void {
    if (!this.#running || this.state === "live") return
    clearTimeout(this.#retry)
    this.#drop()
    this.#open()
  }

  #open(): void {
    const known = this.#sequence !== null && this.#epoch !== null
    const since = known ? `&since=${this.#sequence}&epoch=${this.#epoch}` : ""
    const scheme = location.protocol === "https:" ? "wss:" : "ws:"
    const socket = new WebSocket(`${scheme}//${location.host}/api/v1/live?snapshot=brief${since}`)
    this.#socket = socket
    this.caught = 0
    this.#heard = Date.now()
    socket.onopen = () => {
      socket.send(csrfToken())
      // What is replayed are changes of the record; where links and figures stand now is in the picture after it.
      if (known) socket.send("resync")
    }
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return
      this.#heard = Date.now()
      this.#queue.push(JSON.parse(String(data)) as Message)
      this.#schedule()
    }
    socket.onclose = ({ code }) => {
      if (socket === this.#socket) void this.#lost(code)
    }
  }

  #drop(): void {
    const socket = this.#socket
    this.#socket = null
    this.#queue = []
    socket?.close()
  }

  async #lost(code: number): Promise<void> {
    this.#drop()
    if (!this.#running) return
    this.#failures += 1
    this.state = "offline"
    const delay = Math.min(FIRST_RETRY * 2 ** (this.#failures - 1), LONGEST_RETRY)
    this.retryAt = Date.now() + delay
    clearTimeout(this.#retry)
    this.#retry = setTimeout(() => this.#again(), delay)
    if (code === SIGNED_OUT || code === ROLE_CHANGED) await session.load().catch(() => {})
  }

  /** A refused handshake does not say why; the session does. */
  async #again(): Promise<void> {
    try {
      await session.load()
    } catch {
      if (this.#running && this.state === "offline" && !this.#socket) await this.#lost(0)
      return
    }
    if (this.#running && session.me && !this.#socket) this.#open()
  }

  #tick(): void {
    const now = Date.now()
    const slept = now - this.#ticked > SLEPT
    this.#ticked = now
    if (slept && !document.hidden && this.#socket && now - this.#heard > SLEPT) {
      // The socket may be as dead as it was asleep: begin anew, and show until then of when the picture is.
      this.#drop()
      this.state = "catching"
      this.#open()
    } else if (this.#socket && now - this.#heard > LONGEST_SILENCE) void this.#probe()
  }

  /** A calm fleet says nothing for long: ask before the socket is given up. */
  async #probe(): Promise<void> {
    const socket = this.#socket
    this.#heard = Date.now()
    try {
      await api.get("/session", { timeout: 5_000 })
    } catch {
      if (socket && socket === this.#socket) await this.#lost(0)
    }
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    const apply = () => {
      this.#scheduled = false
      this.#apply()
    }
    if (document.hidden) setTimeout(apply, HIDDEN_EVERY)
    else requestAnimationFrame(apply)
  }

  #apply(): void {
    const messages = this.#queue
    this.#queue = []
    const events: FleetEvent[] = []
    for (const message of messages) {
      if (message.epoch !== undefined) this.#epoch = message.epoch
      if (message.snapshot) this.#pictureCame(message.snapshot)
      else if (message.links) {
        fleet.linksStand(message.links)
        this.state = "catching"
      }
      for (const delta of message.deltas ?? []) {
        if (this.state === "catching") this.caught += 1
        fleet.applyDelta(delta)
      }
      if (message.events) events.push(...message.events)
      if (message.figures) fleet.figuresCame(message.figures)
      if (message.counts) fleet.counts = message.counts
      if (message.sequence !== undefined && !message.gap) this.#sequence = message.sequence
    }
    fleet.applyEvents(events)
    fleet.heardAt = Date.now()
  }

  #pictureCame(picture: Snapshot): void {
    fleet.show(picture)
    this.state = "live"
    this.#failures = 0
  }
}

export const live = new Live()
