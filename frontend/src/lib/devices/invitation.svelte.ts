import { api, ApiError, newKey } from "$lib/api/client"
import type { Delta, DeviceRow } from "$lib/api/types"
import { fleet } from "$lib/state/fleet.svelte"
import { OneRow } from "./one.svelte"
import type { DeviceRecord, TicketRecord } from "./records"

export interface Wish {
  user: { id: string; name: string } | null
  name: string
  seconds: number
}

export type Phase = "open" | "expired" | "withdrawn" | "claimed" | "delivered"

/**
 * One ticket from its making to the device that came by it. The link is kept here alone, and only while it is worth
 * something: not in the address, not in storage, and not in the record.
 */
export class Invitation {
  phase: Phase = $state("open")
  /** Null as soon as it is worth nothing, or nobody is to see it any more. */
  link: string | null = $state.raw(null)
  device: DeviceRecord | null = $state.raw(null)
  madeAt = $state("")
  claimedAt: string | null = $state(null)
  deliveredAt: string | null = $state(null)
  /** By this machine's clock, whatever helm's says. */
  readonly endsAt: number
  readonly lifetime: number
  readonly wish: Wish
  revision: number | null = $state(null)

  #ticket: TicketRecord
  #row: OneRow<DeviceRow> | null = $state.raw(null)
  #unfollow: (() => void) | null = null

  private constructor(wish: Wish, made: TicketRecord & { link: string }, now: number) {
    const { link, ...ticket } = made
    this.wish = wish
    this.link = link
    this.#ticket = ticket
    this.madeAt = ticket.created_at
    this.lifetime = Date.parse(ticket.expires_at) - Date.parse(ticket.created_at)
    this.endsAt = now + this.lifetime
  }

  /** Asks helm for a ticket; not by a key for repetitions, for the answer would be kept with it. Throws ApiError. */
  static async make(wish: Wish): Promise<Invitation> {
    const body = { device_name: wish.name, seconds: wish.seconds, user: wish.user?.id ?? null }
    return new Invitation(wish, await api.post<TicketRecord & { link: string }>("/tickets", body), Date.now())
  }

  /** Follows what becomes of it until the returned function is called; then the secret is gone, too. */
  follow(): () => void {
    const ends = [
      fleet.onDelta("ticket", (delta) => this.#told(delta)),
      // What was missed while the socket was away.
      fleet.onPicture(() => void this.#look()),
    ]
    const ticking = setInterval(() => this.#tick(), 1_000)
    return () => {
      for (const end of ends) end()
      clearInterval(ticking)
      this.#unfollow?.()
      this.forget()
    }
  }

  forget(): void {
    this.link = null
  }

  /** Makes it worthless. Throws ApiError. */
  async withdraw(): Promise<void> {
    this.#ticket = await api.act<TicketRecord>(`/tickets/${this.#ticket.id}/withdraw`, this.#ticket.version, { once: newKey() })
    this.#becomes(this.#ticket)
  }

  /** Called when the row of the device that came was read anew. */
  rowCame(): void {
    const row = this.#row?.value
    if (!row) return
    this.revision = row.profile?.revision ?? row.profile?.wanted ?? null
    if (row.profile?.revision && this.phase === "claimed") {
      this.phase = "delivered"
      this.deliveredAt = row.profile.since ?? new Date().toISOString()
    }
  }

  #tick(): void {
    if (this.phase === "open" && Date.now() >= this.endsAt) {
      this.phase = "expired"
      this.forget()
    }
    this.rowCame()
  }

  #told(delta: Delta): void {
    if (delta.id === this.#ticket.id && delta.record) this.#becomes(delta.record as unknown as TicketRecord)
  }

  async #look(): Promise<void> {
    try {
      this.#becomes(await api.get<TicketRecord>(`/tickets/${this.#ticket.id}`))
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
    }
  }

  #becomes(ticket: TicketRecord): void {
    this.#ticket = ticket
    if (ticket.used_at && ticket.device_id) {
      this.forget()
      if (this.phase === "delivered" || this.phase === "claimed") return
      this.phase = "claimed"
      this.claimedAt = ticket.used_at
      void this.#meet(ticket.device_id)
    } else if (ticket.withdrawn_at) {
      this.forget()
      this.phase = "withdrawn"
    }
  }

  async #meet(id: string): Promise<void> {
    this.#row = new OneRow<DeviceRow>("devices", "device", id)
    this.#unfollow = this.#row.follow()
    try {
      this.device = await api.get<DeviceRecord>(`/devices/${id}`)
    } catch (error) {
      // It is in the list; the words are in its drawer.
      if (!(error instanceof ApiError)) throw error
    }
  }
}
