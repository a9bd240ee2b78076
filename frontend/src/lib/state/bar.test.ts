import { expect, it } from "vitest"
import { bar } from "./bar.svelte"

it("keeps what the new page says when the old one leaves after it", () => {
  const [old, fresh] = [{}, {}]
  bar.fill(old, [{ label: "fra-1" }], null)
  bar.fill(fresh, [{ label: "syd-1" }], null)
  bar.leave(old)
  expect(bar.trail).toEqual([{ label: "syd-1" }])
  bar.leave(fresh)
  expect(bar.trail).toEqual([])
})
