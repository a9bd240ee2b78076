import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import path from "node:path"
import { gunzipSync } from "node:zlib"
import { describe, expect, it } from "vitest"
import { compress, externalise } from "./adapter.js"
import { withoutStyle } from "./announcer.ts"

const SCRIPT = `{ const element = document.currentScript.parentElement; import("/_app/entry.js") }`
const page = (body: string) => `<!doctype html><script src="/theme.js"></script><div>${body}</div>`

describe("the page of the build", () => {
  it("gets its start script from a file", () => {
    const { html, script } = externalise(page(`<script>${SCRIPT}</script>`))
    expect(html).toBe(page("<!-- start -->"))
    expect(script).toContain(SCRIPT)
  })

  it.each([
    ["no inline script", ""],
    ["two inline scripts", `<script>${SCRIPT}</script><script>${SCRIPT}</script>`],
    ["a start script of another make", `<script>start()</script>`],
    ["paths relative to the page", `<script>${SCRIPT.replace('"/_app', '"./_app')}</script>`],
    ["a style attribute", `<script>${SCRIPT}</script><i style="color: red"></i>`],
    ["an event attribute", `<script>${SCRIPT}</script><i onclick="start()"></i>`],
  ])("is refused with %s", (_, body) => expect(() => externalise(page(body))).toThrow())
})

describe("the announcer", () => {
  it("loses its style attribute", () =>
    expect(withoutStyle(`<div id="svelte-announcer" aria-live="assertive" style="x: y">`)).toBe(
      `<div id="svelte-announcer" aria-live="assertive">`,
    ))
  it("that has changed stops the build", () => expect(() => withoutStyle(`<p id="announcer">`)).toThrow())
})

it("what is compressed for browsers is the same, each time", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "kit-"))
  writeFileSync(path.join(folder, "a.js"), "start()")
  writeFileSync(path.join(folder, "font.woff2"), "x")
  compress(folder)
  const first = readFileSync(path.join(folder, "a.js.gz"))
  expect(gunzipSync(first).toString()).toBe("start()")
  compress(folder)
  expect(readFileSync(path.join(folder, "a.js.gz")).equals(first)).toBe(true)
  expect(readdirSync(folder).sort()).toEqual(["a.js", "a.js.gz", "font.woff2"])
})
