import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import { address, api, ApiError, setCsrf, whenSignedOut } from "./client"

const fetched = vi.fn<typeof fetch>()
const answer = (response: Response | Error) =>
  fetched.mockImplementation(() => (response instanceof Error ? Promise.reject(response) : Promise.resolve(response.clone())))
const sent = () => fetched.mock.calls[0]![1]!
const failureOf = (asked: Promise<unknown>) =>
  asked.then(
    () => null,
    (error: unknown) => (error instanceof ApiError ? error.failure : error),
  )

beforeEach(() => void vi.stubGlobal("fetch", fetched))
afterEach(() => {
  vi.unstubAllGlobals()
  fetched.mockReset()
  setCsrf("")
  whenSignedOut(() => {})
})

describe("a change", () => {
  it("says the version it saw, the key of its intention and the token", async () => {
    answer(Response.json({ id: "1" }))
    setCsrf("secret")
    await api.patch("/nodes/1", { name: "fra-1" }, 42, { once: "k" })
    expect(sent()).toMatchObject({ method: "PATCH", body: '{"name":"fra-1"}', credentials: "same-origin", redirect: "error" })
    expect(sent().headers).toMatchObject({ "if-match": '"42"', "x-pharos-csrf": "secret", "idempotency-key": "k", "content-type": "application/json" })
  })
  it("may have nothing to answer", async () => {
    answer(new Response(null, { status: 204 }))
    expect(await api.del("/nodes/1", { version: 1 })).toBeUndefined()
  })
})

it("a question does not show the token", async () => {
  answer(Response.json({}))
  setCsrf("secret")
  await api.get("/nodes")
  expect(sent().headers).not.toHaveProperty("x-pharos-csrf")
})

it("an address has what is asked, and nothing of what is not", () =>
  expect(address("/views/devices", { sort: "-name", q: "", user: null, ids: ["a", "b"] })).toBe("/api/v1/views/devices?sort=-name&ids=a%2Cb"))

describe("what went wrong", () => {
  it("is silence, a stranger or helm's own word", async () => {
    answer(new TypeError("Failed to fetch"))
    expect(await failureOf(api.get("/nodes"))).toEqual({ kind: "unreachable" })
    answer(new Response("<!doctype html>"))
    expect(await failureOf(api.get("/nodes"))).toEqual({ kind: "unreadable" })
    const problem = { type: "about:blank", title: "Conflict", status: 409, detail: "somebody was faster", current: { version: 3 } }
    answer(Response.json(problem, { status: 409 }))
    const error = await api.patch("/nodes/1", {}, 1).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ status: 409, message: "somebody was faster", current: { version: 3 } })
  })
  it("is not the reader's leaving", async () => {
    const left = new AbortController()
    answer(new DOMException("left", "AbortError"))
    left.abort("left")
    expect(await failureOf(api.get("/nodes", { signal: left.signal }))).toBe("left")
  })
  it("shows the door only where the session has ended, and not for a wrong password", async () => {
    const shown = vi.fn()
    whenSignedOut(shown)
    answer(new Response("{}", { status: 401 }))
    await failureOf(api.post("/session/prove", { password: "wrong" }))
    expect(shown).not.toHaveBeenCalled()
    await failureOf(api.get("/nodes"))
    expect(shown).toHaveBeenCalledOnce()
  })
})

it("a stream gives its lines as they come, however they are cut", async () => {
  const parts = ['{"n":1}\n{"n"', ":2}\n", '{"n":3}\n']
  answer(new Response(new ReadableStream({ start: (to) => (parts.forEach((part) => to.enqueue(new TextEncoder().encode(part))), to.close()) })))
  const lines: { n: number }[] = []
  for await (const line of api.lines<{ n: number }>("/onboardings/1/events")) lines.push(line)
  expect(lines.map((line) => line.n)).toEqual([1, 2, 3])
})
