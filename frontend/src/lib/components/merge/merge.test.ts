import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import { ApiError } from "$lib/api/client"
import { conflicts, saveWithMerge, shown, type MergeRequest } from "./merge.svelte"

interface Node extends Record<string, unknown> {
  version: number
  label: string
  limit: number
}
const WAS: Node = { version: 41, label: "Frankfurt", limit: 500, updated_by: "mara" }
const THEIRS: Node = { version: 42, label: "Frankfurt", limit: 650, updated_by: "tomas" }

const asked: { version: string | null; body: unknown }[] = []
const answers: [number, unknown][] = []
const stale = (current: unknown): [number, unknown] => [409, { detail: "it was changed", status: 409, current }]

const request = (part: Partial<MergeRequest<Node>> = {}): MergeRequest<Node> => ({
  path: "/nodes/1",
  record: WAS,
  changes: { label: "Frankfurt East", limit: 800 },
  fields: [
    { key: "limit", label: "Limit" },
    { key: "label", label: "Label" },
  ],
  title: "fra-1",
  ...part,
})

beforeEach(() => {
  asked.length = answers.length = 0
  vi.stubGlobal("fetch", async (_path: string, init: RequestInit) => {
    asked.push({ version: new Headers(init.headers).get("if-match"), body: init.body ? JSON.parse(String(init.body)) : null })
    const [status, body] = answers.shift()!
    return new Response(JSON.stringify(body), { status })
  })
})
afterEach(() => {
  conflicts.current?.keepEditing()
  vi.unstubAllGlobals()
})
const dialog = () => vi.waitUntil(() => conflicts.current)

describe("saveWithMerge", () => {
  it("saves without asking where nobody was faster", async () => {
    answers.push([200, { ...WAS, version: 42 }])
    expect((await saveWithMerge(request()))?.version).toBe(42)
    expect(asked).toEqual([{ version: '"41"', body: { label: "Frankfurt East", limit: 800 } }])
    expect(conflicts.current).toBeNull()
  })

  it("shows both versions, and saves what was chosen as the next one", async () => {
    answers.push(stale(THEIRS), [200, { ...THEIRS, version: 43, label: "Frankfurt East" }])
    const saved = saveWithMerge(request())
    const conflict = await dialog()
    expect(conflict.choices).toEqual({ limit: "theirs", label: "mine" })
    await conflict.save()
    expect((await saved)?.version).toBe(43)
    expect(asked[1]).toEqual({ version: '"42"', body: { label: "Frankfurt East" } })
    expect(conflicts.current).toBeNull()
  })

  it("refreshes in place when somebody is faster once more, and keeps the choices", async () => {
    answers.push(stale(THEIRS), stale({ ...THEIRS, version: 43, limit: 700 }), [200, { ...THEIRS, version: 44 }])
    const saved = saveWithMerge(request())
    const conflict = await dialog()
    conflict.pick("limit", "mine")
    await conflict.save()
    expect(conflicts.current).toBe(conflict)
    expect(conflict.stored).toMatchObject({ version: 43, limit: 700 })
    expect(conflict.choices).toEqual({ limit: "mine", label: "mine" })
    await conflict.save()
    expect((await saved)?.version).toBe(44)
    expect(asked.at(-1)).toEqual({ version: '"43"', body: { label: "Frankfurt East", limit: 800 } })
  })

  it("sends nothing when all of theirs is taken", async () => {
    answers.push(stale(THEIRS))
    const saved = saveWithMerge(request())
    const conflict = await dialog()
    conflict.pick("label", "theirs")
    await conflict.save()
    expect(await saved).toEqual(THEIRS)
    expect(asked).toHaveLength(1)
  })

  it("gives nothing when the reader goes on editing", async () => {
    answers.push(stale(THEIRS))
    const saved = saveWithMerge(request())
    const conflict = await dialog()
    conflict.keepEditing()
    expect(await saved).toBeNull()
  })

  it("does not ask about what is stored already", async () => {
    answers.push(stale({ ...THEIRS, label: "Frankfurt East", limit: 800 }))
    expect(await saveWithMerge(request())).toMatchObject({ version: 42, limit: 800 })
  })

  it("lets one conflict wait for another", async () => {
    answers.push(stale(THEIRS), stale({ ...THEIRS, limit: 1 }))
    const [first, second] = [saveWithMerge(request()), saveWithMerge(request({ title: "fra-2" }))]
    const shownFirst = await dialog()
    expect(shownFirst.title).toBe("fra-1")
    shownFirst.keepEditing()
    expect(await first).toBeNull()
    const shownSecond = await vi.waitUntil(() => conflicts.current)
    expect(shownSecond.title).toBe("fra-2")
    shownSecond.keepEditing()
    expect(await second).toBeNull()
  })

  it("asks for what lists do not show", async () => {
    const { limit: _, ...listed } = THEIRS
    answers.push(stale(listed), [200, { ...THEIRS, limit: 651 }])
    const saved = saveWithMerge(request())
    const conflict = await dialog()
    expect(conflict.differences.find(({ key }) => key === "limit")).toMatchObject({ theirs: 651, changed: "both" })
    conflict.keepEditing()
    expect(await saved).toBeNull()
  })

  it("throws whatever else was wrong", async () => {
    answers.push([409, { detail: "the name is taken", status: 409 }])
    await expect(saveWithMerge(request())).rejects.toBeInstanceOf(ApiError)
  })

  it("sends as it is told to", async () => {
    const send = vi.fn(async () => ({ ...WAS, version: 42 }))
    await saveWithMerge(request({ send }))
    expect(send).toHaveBeenCalledWith({ label: "Frankfurt East", limit: 800 }, 41)
    expect(asked).toEqual([])
  })
})

describe("shown", () => {
  it("says values as people do", () => {
    expect([null, "", [], undefined].map(shown)).toEqual(["–", "–", "–", "–"])
    expect([true, 1200, ["a", "b"], "text"].map(shown)).toEqual(["Yes", "1,200", "a, b", "text"])
  })
})
