import type { Plugin } from "vite"

const STYLE = /(<div id="svelte-announcer"[^>]*?) style="[^"]*"/

/**
 * Takes the `style` attribute off the element with which SvelteKit tells screen readers of a new page;
 * the policy is `style-src 'self'`. `styles/base.css` hides it instead.
 */
export function withoutAnnouncerStyle(): Plugin {
  return {
    name: "announcer-without-style",
    enforce: "pre",
    transform: {
      filter: { id: /\/generated\/root\.svelte$/ },
      handler: withoutStyle,
    },
  }
}

export function withoutStyle(root: string): string {
  const changed = root.replace(STYLE, "$1")
  if (changed === root) throw new Error("SvelteKit's root component has changed: look for style attributes in it")
  return changed
}
