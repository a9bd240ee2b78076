import type { Status } from "$lib/api/types"
import type { IconName } from "$lib/components/icons"
import { needs } from "$lib/facts/overview"
import { words } from "$lib/words"

export interface Place {
  href: "/" | "/nodes" | "/relays" | "/devices"
  name: string
  icon: IconName
  /** How many there are, where there is something to count. */
  count(status: Status): number | null
  /** How many of them need a person. */
  wanting(status: Status): number
}

const wantingAmong = (pick: (status: Status) => { id: string }[]) => (status: Status) => {
  const ids = new Set(pick(status).map((thing) => thing.id))
  return needs(status).filter((need) => ids.has(need.id)).length
}

const nav = words.nav

export const GROUPS: { name: string; places: Place[] }[] = [
  {
    name: nav.fleet,
    places: [
      { href: "/", name: nav.overview, icon: "overview", count: () => null, wanting: () => 0 },
      {
        href: "/nodes",
        name: nav.nodes,
        icon: "buoy",
        count: (status) => status.nodes.length,
        wanting: wantingAmong((status) => status.nodes),
      },
      {
        href: "/relays",
        name: nav.relays,
        icon: "relay",
        count: (status) => status.relays.length,
        wanting: wantingAmong((status) => status.relays),
      },
    ],
  },
  {
    name: nav.people,
    places: [
      {
        href: "/devices",
        name: nav.devices,
        icon: "device",
        count: (status) => status.devices.length,
        wanting: () => 0,
      },
    ],
  },
]

export const PLACES: Place[] = GROUPS.flatMap((group) => group.places)

export const placeAt = (pathname: string): Place | undefined => PLACES.find((place) => place.href === pathname)
