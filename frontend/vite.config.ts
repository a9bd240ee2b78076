import { sveltekit } from "@sveltejs/kit/vite"
import { defineConfig } from "vitest/config"
import { withoutAnnouncerStyle } from "./kit/announcer.ts"
import { land } from "./kit/land.ts"

export default defineConfig({
  plugins: [withoutAnnouncerStyle(), land(), sveltekit()],
  build: {
    // No data: addresses, the policy has no source for them.
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    rolldownOptions: {
      output: {
        // A hundred files of a kilobyte are a hundred questions over a passage: what most pages need is one of a few.
        codeSplitting: {
          groups: [
            { name: "svelte", test: /node_modules\/(svelte|@sveltejs|esm-env|clsx|devalue)\//, priority: 4 },
            { name: "table", test: /src\/lib\/components\/table\/|src\/lib\/state\/\w*rows|node_modules\/@tanstack/, priority: 1, minShareCount: 2 },
            {
              name: "base",
              test: /src\/lib\/(api|state|facts|format|nav)|src\/lib\/components\/(ui\/(?!Qr)|frame)|src\/lib\/i18n\/(en\.|en\/|index)|node_modules\/(bits-ui|@lucide|intl-messageformat|@formatjs)/,
              priority: 2,
              minShareCount: 3,
            },
            { name: "shared", test: /src\/lib\/|node_modules/, priority: 0, minShareCount: 8 },
          ],
        },
      },
    },
  },
  // `npm run dev` shows the helm of this machine.
  server: { proxy: { "/api": { target: "http://127.0.0.1:8440", ws: true } } },
  test: { include: ["src/**/*.test.ts", "kit/**/*.test.ts"], environment: "node", setupFiles: ["src/lib/i18n/setup.ts"] },
  resolve: process.env.VITEST ? { conditions: ["browser"] } : {},
})
