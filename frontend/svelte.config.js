import adapter from "./kit/adapter.js"

/** @type {import("@sveltejs/kit").Config} */
export default {
  compilerOptions: { runes: true },
  kit: {
    adapter: adapter({ fallback: "index.html" }),
    // Not the time of the build: the same sources must give the same files.
    version: { name: process.env.PHAROS_SPA_DIGEST ?? "dev", pollInterval: 0 },
    typescript: {
      config: (config) => ({ ...config, include: [...config.include, "../kit/**/*.{js,ts}"] }),
    },
  },
}
