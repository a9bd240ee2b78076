import { afterEach, describe, expect, it, vi } from "vitest"
import { fleet } from "../../../dev/fleets.ts"
import { ApiError, getStatus, signIn } from "./client"

const forever = new AbortController().signal
const answer = (answered: Promise<Response> | Response) => vi.stubGlobal("fetch", vi.fn(async () => answered))
const failureOf = (asked: Promise<unknown>) =>
  asked.then(
    () => null,
    (error: unknown) => (error instanceof ApiError ? error.failure : error),
  )

afterEach(() => vi.unstubAllGlobals())

describe("asking for the status", () => {
  it("returns helm's JSON", async () => {
    answer(Response.json(fleet(0)))
    expect(await getStatus(forever)).toEqual(fleet(0))
  })

  it("tells silence, an error and a stranger apart", async () => {
    answer(Promise.reject(new TypeError("Failed to fetch")))
    expect(await failureOf(getStatus(forever))).toEqual({ kind: "unreachable" })
    answer(new Response("{}", { status: 503 }))
    expect(await failureOf(getStatus(forever))).toEqual({ kind: "refused", status: 503 })
    answer(new Response("<!doctype html>"))
    expect(await failureOf(getStatus(forever))).toEqual({ kind: "unreadable" })
    answer(Response.json({ fleet: {}, nodes: [] }))
    expect(await failureOf(getStatus(forever))).toEqual({ kind: "unreadable" })
  })

  it("does not take the reader's leaving for silence", async () => {
    const left = new AbortController()
    answer(Promise.reject(new DOMException("left", "AbortError")))
    left.abort("left")
    expect(await failureOf(getStatus(left.signal))).toBe("left")
  })
})

describe("signing in", () => {
  it("sends what somebody proves, as JSON", async () => {
    answer(Response.json({ name: "owner", csrf: "x" }))
    await signIn({ link: "secret" }, forever)
    const [path, request] = vi.mocked(fetch).mock.calls[0]!
    expect(path).toBe("/api/v1/session")
    expect(request).toMatchObject({ method: "POST", body: '{"link":"secret"}', credentials: "same-origin" })
    expect(request!.headers).toMatchObject({ "content-type": "application/json" })
  })

  it("tells a refusal by its status", async () => {
    answer(new Response("{}", { status: 401 }))
    expect(await failureOf(signIn({ name: "a", password: "b", code: "" }, forever))).toEqual({
      kind: "refused",
      status: 401,
    })
  })
})
