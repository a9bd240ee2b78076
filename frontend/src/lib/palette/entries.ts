import CirclePlus from "@lucide/svelte/icons/circle-plus"
import CircleDashed from "@lucide/svelte/icons/circle-dashed"
import Contrast from "@lucide/svelte/icons/contrast"
import FileText from "@lucide/svelte/icons/file-text"
import KeyRound from "@lucide/svelte/icons/key-round"
import Laptop from "@lucide/svelte/icons/laptop"
import LifeBuoy from "@lucide/svelte/icons/life-buoy"
import LogOut from "@lucide/svelte/icons/log-out"
import Pause from "@lucide/svelte/icons/pause"
import Play from "@lucide/svelte/icons/play"
import RadioTower from "@lucide/svelte/icons/radio-tower"
import RefreshCw from "@lucide/svelte/icons/refresh-cw"
import User from "@lucide/svelte/icons/user"
import Users from "@lucide/svelte/icons/users"
import type { Component } from "svelte"
import { goto } from "$app/navigation"
import { api } from "$lib/api/client"
import type { Node } from "$lib/api/types"
import { markOf, nodeMark, relayMark, type Mark } from "$lib/facts/status"
import { t } from "$lib/i18n/index.svelte"
import { placeName, PLACES } from "$lib/nav"
import { acts, type Act } from "$lib/state/acts.svelte"
import { fleet } from "$lib/state/fleet.svelte"
import { live } from "$lib/state/live.svelte"
import { session } from "$lib/state/session.svelte"
import { theme } from "$lib/state/theme.svelte"
import { toasts } from "$lib/state/toasts.svelte"

type Icons = Component<Record<string, unknown>>
export type Kind = "act" | "node" | "relay" | "device" | "user" | "group" | "admin" | "token" | "page"

export interface Entry {
  id: string
  kind: Kind
  label: string
  icon: Icons
  detail: string
  mark?: Mark | undefined
  words?: string
  run: () => void
}

/** What the server found: `GET /api/v1/search`. */
export interface Hit {
  kind: Kind
  id: string
  name: string
  detail: string
}

const HREF: Partial<Record<Kind, (id: string) => string>> = {
  node: (id) => `/nodes/${id}`,
  relay: (id) => `/relays/${id}`,
  device: (id) => `/devices?device=${id}`,
  user: (id) => `/users?user=${id}`,
  group: (id) => `/groups?group=${id}`,
  admin: (id) => `/admins?admin=${id}`,
  token: (id) => `/admins?token=${id}`,
}
const ICONS: Record<Kind, Icons> = {
  act: CircleDashed as Icons,
  node: LifeBuoy as Icons,
  relay: RadioTower as Icons,
  device: Laptop as Icons,
  user: User as Icons,
  group: Users as Icons,
  admin: KeyRound as Icons,
  token: KeyRound as Icons,
  page: FileText as Icons,
}

export const hitEntry = (hit: Hit): Entry => ({
  id: `${hit.kind} ${hit.id}`,
  kind: hit.kind,
  label: hit.name,
  icon: ICONS[hit.kind] ?? ICONS.page,
  detail: hit.detail,
  run: () => void goto(HREF[hit.kind]?.(hit.id) ?? "/"),
})

/** What every page can do; what the role may not is not in it, and while helm is away nothing that changes is. */
export function actEntries(): Entry[] {
  const own = [...acts.all, ...general(), ...(live.offline ? [] : nodeActs())]
  return own
    .filter((act) => session.can(act.role))
    .map((act) => ({
      id: act.id,
      kind: "act",
      label: act.label,
      icon: act.icon ?? ICONS.act,
      detail: act.consequence ?? "",
      words: act.words ?? "",
      run: act.run,
    }))
}

export const pageEntries = (): Entry[] =>
  PLACES.filter((place) => session.can(place.role)).map((place) => ({
    id: `page ${place.href}`,
    kind: "page",
    label: placeName(place),
    icon: place.icon,
    detail: place.key ? `G ${place.key.toUpperCase()}` : "",
    run: () => void goto(place.href),
  }))

/** Nodes and relays are all here: they need no server. */
export const memberEntries = (): Entry[] => [
  ...[...fleet.nodes.values()].map((node) => member("node", node.id, node.name, node.place, nodeMark(node))),
  ...[...fleet.relays.values()].map((relay) => member("relay", relay.id, relay.name, relay.place, relayMark(relay))),
]

function member(kind: "node" | "relay", id: string, label: string, place: string, mark: Mark): Entry {
  return { ...hitEntry({ kind, id, name: label, detail: place }), mark, words: place }
}

function general(): Act[] {
  return [
    { id: "invite", label: t("frame.actInvite"), icon: CirclePlus as Icons, role: "operator", run: () => void goto("/devices?invite=new") },
    { id: "add node", label: t("frame.actAddNode"), icon: CirclePlus as Icons, role: "admin", run: () => void goto("/nodes/add") },
    { id: "theme", label: theme.current === "dark" ? t("frame.toLight") : t("frame.toDark"), icon: Contrast as Icons, role: "viewer", run: () => theme.toggle() },
    { id: "sign out", label: t("frame.actSignOut"), icon: LogOut as Icons, role: "viewer", run: () => void session.signOut().catch((error) => toasts.fail(error)) },
  ]
}

function nodeActs(): Act[] {
  return [...fleet.nodes.values()].flatMap((node) => {
    const sessions = fleet.figures.get(node.id)?.sessions ?? 0
    const push: Act = {
      id: `push ${node.id}`,
      label: t("frame.actPush", { name: node.name }),
      icon: RefreshCw as Icons,
      role: "operator",
      run: () => void change(node, "push", t("frame.pushed", { name: node.name })),
    }
    if (node.state === "active")
      return [
        push,
        {
          id: `drain ${node.id}`,
          label: t("frame.actDrain", { name: node.name }),
          icon: Pause as Icons,
          consequence: t("frame.sessionsMove", { n: sessions }),
          role: "operator",
          run: () => void change(node, "drain", t("frame.drained", { name: node.name }), "resume"),
        },
      ]
    if (node.state === "draining")
      return [
        push,
        {
          id: `resume ${node.id}`,
          label: t("frame.actResume", { name: node.name }),
          icon: Play as Icons,
          consequence: markOf("draining").word,
          role: "operator",
          run: () => void change(node, "resume", t("frame.resumed", { name: node.name })),
        },
      ]
    return []
  })
}

async function change(node: Node, act: string, said: string, back?: string): Promise<void> {
  try {
    const changed = await api.act<Node>(`/nodes/${node.id}/${act}`, node.version)
    toasts.done(said, back && changed ? () => api.act(`/nodes/${node.id}/${back}`, changed.version) : undefined)
  } catch (error) {
    toasts.fail(error)
  }
}
