import { sveltekit } from "@sveltejs/kit/vite"
import { defineConfig } from "vitest/config"
import { mockHelm } from "./dev/mock.ts"
import { withoutAnnouncerStyle } from "./kit/announcer.ts"

// `npm run dev` shows the helm of this machine; with PHAROS_MOCK=<scenario> it shows an invented fleet.
const scenario = process.env.PHAROS_MOCK
const helm = { "/api": { target: "http://127.0.0.1:8440", ws: true } }

export default defineConfig({
  plugins: [withoutAnnouncerStyle(), sveltekit(), ...(scenario ? [mockHelm(scenario)] : [])],
  build: {
    // No data: addresses, the policy has no source for them.
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
  server: { proxy: scenario ? {} : helm },
  test: { include: ["src/**/*.test.ts", "kit/**/*.test.ts"], environment: "node" },
  resolve: process.env.VITEST ? { conditions: ["browser"] } : {},
})
