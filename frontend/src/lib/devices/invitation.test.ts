import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import type { Delta } from "$lib/api/types"
import { fleet } from "$lib/state/fleet.svelte"
import { Invitation } from "./invitation.svelte"

const LINK = "pharosvpn://enroll#secret"
const TICKET = {
  id: "0011223344556677",
  version: 1,
  device_name: "mbp",
  user_id: null,
  created_at: "2026-07-12T14:00:00Z",
  expires_at: "2026-07-12T14:15:00Z",
  updated_at: "2026-07-12T14:00:00Z",
  updated_by: "ada",
  used_at: null,
  device_id: null,
  withdrawn_at: null,
  state: "open",
}

const asked: string[] = []

function answer(path: string, method: string): unknown {
  if (path.endsWith("/withdraw")) return { ...TICKET, version: 2, withdrawn_at: "2026-07-12T14:01:00Z", state: "withdrawn" }
  if (method === "POST") return { ...TICKET, link: LINK }
  if (path.includes("/rows")) return { items: [{ id: "dev", profile: { revision: 1, wanted: 1, state: "synced", since: "2026-07-12T14:02:30Z" } }] }
  if (path.includes("/devices/")) return { id: "dev", name: "mbp-ines", version: 1, safety_words: "heron gentle barrel mitten otter island" }
  return TICKET
}

function told(record: Record<string, unknown>): void {
  const delta = { seq: 1, at: "", kind: "ticket_used", noun: "ticket", id: TICKET.id, version: 2, actor: "", detail: "" }
  fleet.applyDelta({ ...delta, record: { ...TICKET, version: 2, ...record } } as unknown as Delta)
}

let end: () => void

async function made(): Promise<Invitation> {
  const invitation = await Invitation.make({ user: null, name: "mbp", seconds: 900 })
  end = invitation.follow()
  return invitation
}

beforeEach(() => {
  vi.useFakeTimers()
  asked.length = 0
  vi.stubGlobal("document", { hidden: false })
  vi.stubGlobal("fetch", (path: string, { method }: { method: string }) => {
    asked.push(`${method} ${path}`)
    return Promise.resolve(new Response(JSON.stringify(answer(path, method)), { status: 200 }))
  })
})
afterEach(() => {
  end()
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

describe("an invitation", () => {
  it("has a link while it can be used, and loses it at its end", async () => {
    const invitation = await made()
    expect(invitation.link).toBe(LINK)
    await vi.advanceTimersByTimeAsync(15 * 60_000 - 1_000)
    expect(invitation.phase).toBe("open")
    await vi.advanceTimersByTimeAsync(2_000)
    expect(invitation.phase).toBe("expired")
    expect(invitation.link).toBeNull()
  })

  it("knows the device as soon as the feed tells that it came", async () => {
    const invitation = await made()
    told({ used_at: "2026-07-12T14:02:11Z", device_id: "dev", state: "used" })
    expect(invitation.phase).toBe("claimed")
    expect(invitation.link).toBeNull()
    await vi.advanceTimersByTimeAsync(0)
    await vi.waitFor(() => expect(invitation.device?.safety_words).toContain("heron"))
    expect(invitation.device?.name).toBe("mbp-ines")
    await vi.advanceTimersByTimeAsync(2_000)
    expect(invitation.phase).toBe("delivered")
    expect(invitation.deliveredAt).toBe("2026-07-12T14:02:30Z")
  })

  it("is not moved by another ticket", async () => {
    const invitation = await made()
    const delta = { seq: 1, at: "", kind: "ticket_used", noun: "ticket", id: "other", version: 2, actor: "", detail: "" }
    fleet.applyDelta({ ...delta, record: { ...TICKET, id: "other", used_at: "x", device_id: "y" } } as unknown as Delta)
    expect(invitation.phase).toBe("open")
  })

  it("forgets its link when it is withdrawn, and when its card closes", async () => {
    const invitation = await made()
    await invitation.withdraw()
    expect(invitation.phase).toBe("withdrawn")
    expect(invitation.link).toBeNull()
    const other = await made()
    end()
    expect(other.link).toBeNull()
  })

  it("finds out what it missed when the picture is drawn anew", async () => {
    const invitation = await made()
    fleet.show({ nodes: [], relays: [], events: [], alerts: [] } as never)
    await vi.advanceTimersByTimeAsync(0)
    expect(asked).toContain(`GET /api/v1/tickets/${TICKET.id}`)
    expect(invitation.phase).toBe("open")
  })
})
