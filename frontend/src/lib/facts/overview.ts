import type { Device, Node, Relay, Status } from "$lib/api/types"
import { duration } from "$lib/format"
import { words } from "$lib/words"
import { deviceMark, inService, isDown, linkOf, nodeMark, relayMark } from "./status"

export interface Sentence {
  title: string
  detail: string
}

/** One thing that will not mend itself, or has not yet. */
export interface Need {
  id: string
  title: string
  detail: string
  /** RFC 3339; since when. */
  since: string
}

const say = words.say
const nameOf = (thing: { name: string }) => thing.name
const finish = (sentences: string[]) => sentences.map((text) => `${text.replace(/\.$/, "")}.`).join(" ")

export const healthyNodes = (nodes: Node[]): Node[] => nodes.filter((node) => nodeMark(node).shape === "ok")
export const liveRelays = (relays: Relay[]): Relay[] => relays.filter((relay) => relayMark(relay).shape === "ok")

export function connectedDevices(devices: Device[], asOf: number): Device[] {
  return devices.filter((device) => deviceMark(device, asOf).shape === "ok")
}

/** The one true sentence that opens the overview. */
export function sentence(status: Status, asOf: number): Sentence {
  if (status.nodes.length === 0) return { title: say.empty, detail: say.emptyDetail }
  const nodes = status.nodes.filter(inService)
  const healthy = healthyNodes(nodes)
  const relays = relaySentence(status.relays)
  const devices = deviceSentence(status.devices, asOf)
  if (nodes.length === 0) {
    return { title: say.resting(status.nodes.map(nameOf)), detail: finish([...relays, devices]) }
  }
  if (healthy.length === nodes.length) {
    const all = say.allHealthy(nodes.length)
    if (relays.length) return { title: all, detail: finish([...relays, devices]) }
    return { title: say.well, detail: devices === say.noDevice ? finish([all, devices]) : finish([`${all}, ${devices}`]) }
  }
  const skewed = nodes.filter((node) => nodeMark(node).shape === "warn")
  const clocks = skewed.length ? [say.clocks(skewed.map(nameOf))] : []
  const trouble = [...downSentence(nodes, asOf), ...clocks, ...relays]
  const moving = nodes.filter((node) => !isDown(node) && !skewed.includes(node) && !healthy.includes(node))
  const onTheWay = moving.length ? [say.onTheWay(moving.map(nameOf))] : []
  const goesOn = trouble.length ? [say.goesOn] : []
  return {
    title: say.healthy(healthy.length, nodes.length),
    detail: finish([...trouble, ...onTheWay, devices, ...goesOn]),
  }
}

function relaySentence(relays: Relay[]): string[] {
  const down = relays.filter(isDown)
  return down.length ? [say.relaysDown(down.length, relays.length)] : []
}

function deviceSentence(devices: Device[], asOf: number): string {
  const kept = devices.filter((device) => device.state !== "revoked")
  return kept.length ? say.connected(connectedDevices(kept, asOf).length, kept.length) : say.noDevice
}

function downSentence(nodes: Node[], asOf: number): string[] {
  const silent = nodes.filter((node) => linkOf(node) === "lost")
  const refused = nodes.filter((node) => node.link === "refused")
  const crashed = nodes.filter((node) => node.link === "crashed")
  const parts: string[] = []
  if (silent.length) {
    const first = Math.min(...silent.map((node) => Date.parse(node.since)))
    parts.push(say.silent(silent.map(nameOf), duration(asOf - first)))
  }
  if (refused.length) parts.push(say.refused(refused.map(nameOf)))
  if (crashed.length) parts.push(say.crashed(crashed.map(nameOf)))
  return parts
}

/** Worst first: what is not tried again by itself soon, then the longest silent. */
export function needs(status: Status): Need[] {
  const down = [...status.nodes.filter(inService), ...status.relays].filter(isDown)
  down.sort((a, b) => rank(a) - rank(b) || a.since.localeCompare(b.since))
  return down.map((thing) => {
    const say = words.needs.of[linkOf(thing) as keyof typeof words.needs.of]
    return { id: thing.id, title: say.title(thing.name), detail: finish([say.detail(thing.detail)]), since: thing.since }
  })
}

const RANKED = ["refused", "crashed", "lost"]
const rank = (thing: Node | Relay) => RANKED.indexOf(linkOf(thing))

/** What the control link of a node or relay is doing, in words. */
export function linkSentence(thing: Node | Relay, asOf: number): string {
  const age = duration(asOf - Date.parse(thing.since))
  switch (thing.link) {
    case "up":
      return words.link.up(age)
    case "lost":
      return words.link.lost(age, thing.detail)
    case "refused":
      return words.link.refused(thing.detail)
    case "crashed":
      return words.link.crashed(age, thing.detail)
    case "connecting":
      return words.link.connecting(age)
    default:
      return words.link.other(thing.link, thing.detail)
  }
}
