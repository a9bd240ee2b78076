import { createHash } from "node:crypto"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import path from "node:path"
import { constants, gzipSync } from "node:zlib"
import adapterStatic from "@sveltejs/adapter-static"

/**
 * adapter-static, with the page's inline start script moved to a file of its own: helm's policy is
 * `script-src 'self'`, without hashes to keep in step. The script finds its element by
 * `document.currentScript` and its modules by absolute paths, so it works from a file unchanged.
 *
 * @param {{ fallback: string, pages?: string }} options
 * @returns {import("@sveltejs/kit").Adapter}
 */
export default function adapter({ fallback, pages = "build" }) {
  const inner = adapterStatic({ fallback, pages })
  return {
    ...inner,
    name: "adapter-static-without-inline-script",
    async adapt(builder) {
      await inner.adapt(builder)
      const page = path.join(pages, fallback)
      const { html, script } = externalise(readFileSync(page, "utf8"))
      const name = `boot.${createHash("sha256").update(script).digest("hex").slice(0, 8)}.js`
      writeFileSync(path.join(pages, "_app/immutable/entry", name), script)
      writeFileSync(page, html.replace(PLACE, `<script src="/_app/immutable/entry/${name}"></script>`))
      compress(pages)
    },
  }
}

/**
 * Puts beside each file of text the same, compressed: helm gives it to browsers that take it, which counts over a passage.
 *
 * @param {string} folder
 */
export function compress(folder) {
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    if (!/\.(html|js|css|svg|json|txt)$/.test(name)) continue
    const file = path.join(folder, name)
    // No time is in it, so the same sources give the same file.
    writeFileSync(`${file}.gz`, gzipSync(readFileSync(file), { level: constants.Z_BEST_COMPRESSION }))
  }
}

const PLACE = "<!-- start -->"
const INLINE = /<script>([\s\S]*?)<\/script>/g

/**
 * @param {string} page
 * @returns {{ html: string, script: string }} the page with a placeholder for its only inline script
 */
export function externalise(page) {
  const found = [...page.matchAll(INLINE)]
  const script = found[0]?.[1]
  if (found.length !== 1 || !script) throw new Error(`index.html has ${found.length} inline scripts, expected one`)
  if (!script.includes("document.currentScript") || /import\(\s*"\.\.?\//.test(script))
    throw new Error("SvelteKit's start script has changed: check that it still works from a file")
  const html = page.replace(INLINE, PLACE)
  if (/\sstyle=|\son[a-z]+=/.test(html)) throw new Error("index.html has a style or an event attribute")
  return { html, script: `${script.replace(/^\n|\s+$/g, "").replaceAll(/^\t{4}/gm, "")}\n` }
}
