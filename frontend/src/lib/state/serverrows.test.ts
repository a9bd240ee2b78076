import { afterEach, beforeEach, expect, it, vi } from "vitest"
import { fleet } from "./fleet.svelte"
import { ServerRows } from "./serverrows.svelte"

interface Row {
  id: string
  status: string
}
const answers = new Map<string, unknown>()
const asked: string[] = []

beforeEach(() => {
  vi.useFakeTimers()
  vi.stubGlobal("document", { hidden: false })
  vi.stubGlobal("fetch", (path: string) => {
    asked.push(path)
    return Promise.resolve(Response.json(path.includes("/rows") ? answers.get("rows") : answers.get("order")))
  })
  asked.length = 0
  answers.set("order", { ids: ["a", "b"], total: 2, facets: {}, sequence: 1 })
  answers.set("rows", { items: [{ id: "a", status: "offline" }, { id: "b", status: "offline" }] })
})
afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

const event = { sequence: 1, at: "2026-07-12T14:02:11Z", kind: "handshake", node: "n", device: "a", text: "" }
const delta = (id: string) => ({ seq: 1, at: event.at, kind: "device_changed", noun: "device", id, version: 2, record: { id }, actor: "ada", detail: "" })

async function open(): Promise<{ rows: ServerRows<Row>; end: () => void }> {
  const rows = new ServerRows<Row>({ kind: "devices", sort: "name", noun: "device", onEvent: () => ({ status: "online" }), moving: ["status"] })
  const end = rows.follow()
  rows.refresh()
  await vi.advanceTimersByTimeAsync(0)
  return { rows, end }
}

it("an event is not undone by a row that was read before helm had written it", async () => {
  const { rows, end } = await open()
  fleet.applyEvents([event])
  expect(rows.get("a")?.status).toBe("online")
  await vi.advanceTimersByTimeAsync(1_000)
  fleet.applyDelta(delta("a"))
  await vi.advanceTimersByTimeAsync(1_000)
  expect(rows.get("a")?.status).toBe("online")
  // Later helm's own word counts again.
  await vi.advanceTimersByTimeAsync(10_000)
  expect(rows.get("a")?.status).toBe("offline")
  end()
})

it("an event is remembered for a row that is read only after it", async () => {
  const { rows, end } = await open()
  fleet.applyEvents([{ ...event, sequence: 2, device: "c" }])
  answers.set("order", { ids: ["c"], total: 1, facets: {}, sequence: 2 })
  answers.set("rows", { items: [{ id: "c", status: "offline" }] })
  rows.refresh()
  await vi.advanceTimersByTimeAsync(0)
  expect(rows.get("c")?.status).toBe("online")
  end()
})

it("keeps its order until the reader acts, and counts what came meanwhile", async () => {
  const { rows, end } = await open()
  fleet.applyDelta(delta("c"))
  fleet.applyDelta(delta("c"))
  expect([rows.ids, rows.waiting]).toEqual([["a", "b"], 1])
  answers.set("order", { ids: ["c", "a", "b"], total: 3, facets: {}, sequence: 2 })
  rows.refresh()
  await vi.advanceTimersByTimeAsync(0)
  expect([rows.ids, rows.waiting]).toEqual([["c", "a", "b"], 0])
  end()
})

it("what is told about many rows is asked for once", async () => {
  const { end } = await open()
  const before = asked.length
  for (let n = 0; n < 50; n++) fleet.applyDelta(delta(n % 2 ? "a" : "b"))
  await vi.advanceTimersByTimeAsync(500)
  expect(asked.slice(before)).toEqual(["/api/v1/views/devices/rows?ids=b%2Ca"])
  end()
})
