import Activity from "@lucide/svelte/icons/activity"
import Award from "@lucide/svelte/icons/award"
import Bell from "@lucide/svelte/icons/bell"
import FileText from "@lucide/svelte/icons/file-text"
import KeyRound from "@lucide/svelte/icons/key-round"
import Laptop from "@lucide/svelte/icons/laptop"
import LayoutDashboard from "@lucide/svelte/icons/layout-dashboard"
import LifeBuoy from "@lucide/svelte/icons/life-buoy"
import LinkIcon from "@lucide/svelte/icons/link"
import RadioTower from "@lucide/svelte/icons/radio-tower"
import RotateCcw from "@lucide/svelte/icons/rotate-ccw"
import Settings2 from "@lucide/svelte/icons/settings-2"
import User from "@lucide/svelte/icons/user"
import Users from "@lucide/svelte/icons/users"
import type { Component } from "svelte"
import type { Counts, Role } from "$lib/api/types"
import { isDown, inService } from "$lib/facts/status"
import { t, type Key } from "$lib/i18n/index.svelte"
import { fleet } from "$lib/state/fleet.svelte"

export interface Place {
  href: string
  name: Key
  icon: Component<Record<string, unknown>>
  role: Role
  /** The second key of `G …`. */
  key?: string
  count?: (counts: Counts | null) => number | null
  /** How many of them need a person. */
  wanting?: () => number
  /** Shown only when there is something. */
  only?: () => boolean
}

type Icons = Component<Record<string, unknown>>
const down = (things: Iterable<Parameters<typeof isDown>[0]>) => [...things].filter((thing) => inService(thing) && isDown(thing)).length

export const GROUPS: { name: Key; places: Place[] }[] = [
  {
    name: "frame.fleet",
    places: [
      { href: "/", name: "frame.overview", icon: LayoutDashboard as Icons, role: "viewer", key: "o" },
      {
        href: "/nodes",
        name: "frame.nodes",
        icon: LifeBuoy as Icons,
        role: "viewer",
        key: "n",
        count: () => fleet.nodes.size,
        wanting: () => down(fleet.nodes.values()),
      },
      {
        href: "/relays",
        name: "frame.relays",
        icon: RadioTower as Icons,
        role: "viewer",
        key: "r",
        count: () => fleet.relays.size,
        wanting: () => down(fleet.relays.values()),
      },
      {
        href: "/alerts",
        name: "frame.alerts",
        icon: Bell as Icons,
        role: "viewer",
        key: "l",
        count: (counts) => counts?.alerts ?? null,
      },
    ],
  },
  {
    name: "frame.people",
    places: [
      { href: "/users", name: "frame.users", icon: User as Icons, role: "viewer", key: "u", count: (counts) => counts?.users ?? null },
      { href: "/groups", name: "frame.groups", icon: Users as Icons, role: "viewer", count: (counts) => counts?.groups ?? null },
      {
        href: "/devices",
        name: "frame.devices",
        icon: Laptop as Icons,
        role: "viewer",
        key: "d",
        count: (counts) => counts?.devices.all ?? null,
      },
      { href: "/profiles", name: "frame.profiles", icon: FileText as Icons, role: "viewer", key: "p" },
      {
        href: "/sessions",
        name: "frame.sessions",
        icon: Activity as Icons,
        role: "viewer",
        key: "s",
        count: (counts) => counts?.sessions ?? null,
      },
    ],
  },
  {
    name: "frame.trust",
    places: [
      { href: "/audit", name: "frame.audit", icon: LinkIcon as Icons, role: "admin", key: "a" },
      { href: "/certificates", name: "frame.certificates", icon: Award as Icons, role: "viewer", key: "c" },
      { href: "/admins", name: "frame.admins", icon: KeyRound as Icons, role: "admin", key: "m" },
      {
        href: "/recovery",
        name: "frame.recovery",
        icon: RotateCcw as Icons,
        role: "admin",
        count: (counts) => counts?.adoptions || null,
        wanting: () => fleet.counts?.adoptions ?? 0,
      },
    ],
  },
]

export const SETTINGS: Place = { href: "/settings", name: "frame.settings", icon: Settings2 as Icons, role: "viewer", key: "e" }
export const PLACES: Place[] = [...GROUPS.flatMap((group) => group.places), SETTINGS]
/** Under the thumb on small screens; the rest is behind "More". */
export const TABS = ["/", "/nodes", "/devices", "/audit"]

export const placeAt = (pathname: string): Place | undefined =>
  PLACES.find((place) => place.href === pathname) ??
  PLACES.find((place) => place.href !== "/" && pathname.startsWith(`${place.href}/`))

export const placeName = (place: Place): string => t(place.name)
