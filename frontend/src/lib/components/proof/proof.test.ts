import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import { ApiError } from "$lib/api/client"
import type { Me } from "$lib/api/types"
import { session } from "$lib/state/session.svelte"
import { toasts } from "$lib/state/toasts.svelte"
import { isFresh, proofs, withProof } from "./proof.svelte"

const me = (freshFor: number): Me => ({
  name: "mara",
  role: "owner",
  csrf: "c",
  how: "passkey",
  expires_at: new Date(Date.now() + 3_600_000).toISOString(),
  fresh_until: new Date(Date.now() + freshFor).toISOString(),
  password_set: true,
  totp_set: false,
})
/** What helm says when the session is asked for. */
let now: Me | null = null
const notFresh = () => new ApiError({ kind: "refused", status: 401, problem: null })
const asked = () => vi.waitUntil(() => proofs.asked)

beforeEach(() => {
  now = me(300_000)
  vi.stubGlobal("fetch", async () => new Response(JSON.stringify(now ?? { detail: "sign in" }), { status: now ? 200 : 401 }))
})
afterEach(() => {
  proofs.asked?.settle(false)
  session.leave()
  toasts.clear()
  vi.unstubAllGlobals()
})

describe("withProof", () => {
  it("just acts while the last proof counts", async () => {
    session.enter(me(300_000))
    expect(isFresh()).toBe(true)
    expect(await withProof(async () => "done")).toBe("done")
    expect(proofs.asked).toBeNull()
  })

  it("asks first where it does not, and then acts once", async () => {
    session.enter(me(-1))
    const act = vi.fn(async () => "done")
    const done = withProof(act)
    ;(await asked()).settle(true)
    expect(await done).toBe("done")
    expect(act).toHaveBeenCalledTimes(1)
    expect(isFresh()).toBe(true)
  })

  it("does nothing, and says so, where nobody shows who it is", async () => {
    session.enter(me(-1))
    const act = vi.fn(async () => "done")
    const done = withProof(act)
    ;(await asked()).settle(false)
    expect(await done).toBeNull()
    expect(act).not.toHaveBeenCalled()
    expect(toasts.items).toHaveLength(1)
  })

  it("asks when helm's clock says that it is too old, and acts again", async () => {
    session.enter(me(300_000))
    const act = vi.fn(async () => "done").mockRejectedValueOnce(notFresh())
    const done = withProof(act)
    ;(await asked()).settle(true)
    expect(await done).toBe("done")
    expect(act).toHaveBeenCalledTimes(2)
  })

  it("asks nobody when the session has ended", async () => {
    session.enter(me(300_000))
    now = null
    await expect(withProof(() => Promise.reject(notFresh()))).rejects.toBeInstanceOf(ApiError)
    expect(session.me).toBeNull()
    expect(proofs.asked).toBeNull()
  })

  it("serves all that wait by one proof", async () => {
    session.enter(me(-1))
    const both = Promise.all([withProof(async () => 1), withProof(async () => 2)])
    ;(await asked()).settle(true)
    expect(await both).toEqual([1, 2])
  })

  it("throws what the act throws", async () => {
    session.enter(me(300_000))
    const wrong = new ApiError({ kind: "refused", status: 409, problem: null })
    await expect(withProof(() => Promise.reject(wrong))).rejects.toBe(wrong)
  })
})
