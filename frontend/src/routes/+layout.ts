import { i18n } from "$lib/i18n/index.svelte"

// The page is one static file for every address; helm has no JavaScript to render it with.
export const ssr = false
export const prerender = false

export async function load({ url }: { url: URL }): Promise<void> {
  await i18n.start()
  if (url.pathname !== "/") await i18n.whole()
}
