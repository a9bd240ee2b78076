import { readFileSync, readdirSync, statSync } from "node:fs"
import path from "node:path"
import { IntlMessageFormat } from "intl-messageformat"
import { describe, expect, it, vi } from "vitest"
import de from "./de"
import en from "./catalogue"
import type { Key } from "./en"
import { i18n, t } from "./index.svelte"

const KEYS = Object.keys(en) as Key[]
const LIB = path.resolve(import.meta.dirname, "../..")

const PARTS = new Set(["argument", 1, 2, 3, 4, 5, 6])
function argumentsOf(text: string): string[] {
  const found = new Set<string>()
  const walk = (nodes: readonly unknown[]): void => {
    for (const node of nodes as { type: number; value: string; options?: Record<string, { value: unknown[] }> }[]) {
      if (node.type !== 0 && node.type !== 7 && PARTS.has(node.type)) found.add(node.value)
      for (const option of Object.values(node.options ?? {})) walk(option.value)
    }
  }
  walk(new IntlMessageFormat(text, "en", undefined, { ignoreTag: true }).getAst() as unknown[])
  return [...found].sort()
}

function sources(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const file = path.join(folder, name)
    if (statSync(file).isDirectory()) return sources(file)
    return /\.(svelte|ts)$/.test(name) && !name.endsWith(".test.ts") ? [readFileSync(file, "utf8")] : []
  })
}

describe("the catalogue", () => {
  it("has the same keys in both languages", () => expect(Object.keys(de).sort()).toEqual(KEYS.toSorted()))

  it("can be read by ICU, and asks for the same arguments in both", () => {
    const wrong = KEYS.filter((key) => argumentsOf(en[key]).join() !== argumentsOf(de[key]).join())
    expect(wrong).toEqual([])
  })

  it("keeps its keys in the file of their area", () => {
    const folder = path.resolve(import.meta.dirname, "en")
    for (const name of readdirSync(folder)) {
      const texts = JSON.parse(readFileSync(path.join(folder, name), "utf8")) as Record<string, string>
      const area = name.replace(".json", ".")
      expect(Object.keys(texts).filter((key) => !key.startsWith(area))).toEqual([])
    }
  })

  it("has no text that nothing shows", () => {
    const all = sources(LIB).join("\n")
    // Keys that are put together are used by their beginning: t(`audit.since.${span}`).
    const made = [...all.matchAll(/`([a-z][A-Za-z0-9.]*\.)\$\{/g)].map(([, beginning]) => beginning!)
    const idle = KEYS.filter((key) => !all.includes(`"${key}"`) && !made.some((beginning) => key.startsWith(beginning)))
    expect(idle).toEqual([])
  })

  it("does not shout, beg or boast", () => {
    const loud = KEYS.filter((key) => /!|\bplease\b|\bsuccessfully\b|\bbitte\b|\berfolgreich\b/i.test(`${en[key]} ${de[key]}`))
    expect(loud).toEqual([])
  })
})

it("a text that has not come yet is nothing, and comes by being asked for", async () => {
  vi.resetModules()
  const fresh = await import("./index.svelte")
  expect(fresh.t("common.never")).toBe("never")
  expect(fresh.t("devices.down")).toBe("")
  await vi.waitFor(() => expect(fresh.t("devices.down")).toBe(en["devices.down"]))
  expect(fresh.t("devices.nothing" as Key)).toBe("devices.nothing")
})

it("a text follows the language, with its plurals", async () => {
  expect(t("common.waiting", { n: 6 })).toBe("6 new")
  await i18n.choose("de")
  expect(t("frame.wanting", { n: 1 })).toBe("1 braucht Sie")
  expect(t("frame.wanting", { n: 2 })).toBe("2 brauchen Sie")
  await i18n.choose("en")
})
