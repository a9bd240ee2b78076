import { tell } from "$lib/facts/events"
import { announcer } from "$lib/state/announce.svelte"
import { fleet } from "$lib/state/fleet.svelte"

const HEARD = new Set(["link_up", "link_lost", "link_refused", "link_crashed", "unreachable", "engine_trouble", "engine_mended"])

/** Tells screen readers how nodes and relays come and go, and nothing of traffic (ui.md §5.8); returns the end of it. */
export function hearMembers(): () => void {
  return fleet.onEvent((event) => {
    if (!HEARD.has(event.kind)) return
    const { who, what } = tell(event, fleet.nodeName(event.node))
    announcer.sayLater(who ? `${who} ${what}` : what)
  })
}
