/** What is done about nodes and relays, from lists, pages and the palette alike. */
import { api } from "$lib/api/client"
import type { Member } from "$lib/api/types"
import { t, type Key } from "$lib/i18n/index.svelte"
import { edits } from "$lib/state/edits.svelte"
import { fleet } from "$lib/state/fleet.svelte"
import { toasts } from "$lib/state/toasts.svelte"
import { isNode } from "./facts"

export type Verb = "push" | "drain" | "resume" | "disable" | "enable"

const BECOMES: Partial<Record<Verb, string>> = { drain: "draining", resume: "active", disable: "disabled", enable: "active" }
const BACK: Partial<Record<Verb, Verb>> = { drain: "resume", resume: "drain", disable: "enable", enable: "disable" }

export const pathOf = (member: Member): string => `/${isNode(member) ? "nodes" : "relays"}/${member.id}`

/** Which acts a state allows; a link is kept to those that are pushed to. */
export function allowed(member: Member, verb: Verb): boolean {
  switch (verb) {
    case "push":
      return isNode(member) && ["active", "draining", "disabled"].includes(member.state)
    case "drain":
      return member.state === "active"
    case "resume":
      return member.state === "draining"
    case "disable":
      return member.state === "active" || member.state === "draining"
    case "enable":
      return member.state === "disabled"
  }
}

const newest = (member: Member): Member => fleet.nodes.get(member.id) ?? fleet.relays.get(member.id) ?? member

async function act(member: Member, verb: Verb): Promise<boolean> {
  const part = BECOMES[verb] ? { state: BECOMES[verb] } : {}
  const now = newest(member)
  const done = await edits.send(
    member.id,
    part,
    () => api.act<{ version: number }>(`${pathOf(member)}/${verb}`, now.version),
    t("nodes.actFailed", { name: member.name }),
  )
  return done !== null
}

/** Does it to each that allows it, and says what was done, with the way back where there is one. */
export async function actOn(members: readonly Member[], verb: Verb): Promise<void> {
  const fit = members.filter((member) => allowed(member, verb))
  const held = await Promise.all(fit.map((member) => act(member, verb)))
  const done = fit.filter((_, at) => held[at])
  if (!done.length) return
  const back = BACK[verb]
  const names = done.length === 1 ? done[0]!.name : ""
  toasts.done(
    t(`nodes.did.${verb}` as Key, { n: done.length, name: names }),
    back ? () => actOn(done.map(newest), back) : undefined,
  )
}

export async function revoke(member: Member): Promise<void> {
  await api.act(`${pathOf(member)}/revoke`, newest(member).version)
  toasts.done(t("nodes.did.revoke", { name: member.name }))
}

export async function remove(member: Member): Promise<void> {
  await api.del(pathOf(member), { version: newest(member).version })
  toasts.done(t("nodes.did.remove", { name: member.name }))
}
