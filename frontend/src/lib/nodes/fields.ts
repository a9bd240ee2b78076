import { project } from "$lib/components/map/projection"

/** Fields of forms as people type them, and what helm takes; null is "not understood". */

export const words = (text: string): string[] => [...new Set(text.split(/[\s,;]+/).filter(Boolean))]
/** A list of which each entry stands in a line of its own. */
export const lines = (text: string): string[] => [...new Set(text.split(/[\n,;]+/).map((line) => line.trim()).filter(Boolean))]

export function port(text: string): number | null {
  const value = /^\d{1,5}$/.test(text.trim()) ? Number(text) : 0
  return value >= 1 && value <= 65_535 ? value : null
}

/** Several ports; null where one is none. */
export function ports(text: string): number[] | null {
  const all = words(text).map(port)
  return all.includes(null) ? null : (all as number[])
}

export interface Spot {
  latitude: number | null
  longitude: number | null
}

/** `52.37, 4.90` or `52.37° N, 4.90° E`, as maps copy it; empty is nowhere. */
export function spot(text: string): Spot | null {
  if (!text.trim()) return { latitude: null, longitude: null }
  const found = /^\s*([+\-−]?\d+(?:\.\d+)?)\s*°?\s*([NS])?[\s,;/]+([+\-−]?\d+(?:\.\d+)?)\s*°?\s*([EWO])?\s*$/i.exec(text)
  if (!found) return null
  const latitude = side(found[1]!, found[2], "S")
  const longitude = side(found[3]!, found[4], "W")
  return Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180 ? { latitude, longitude } : null
}

const ORIGIN = project(0, 0)
const DEGREE = project(0, 1).x - ORIGIN.x

/** Where a point of the map is, to a tenth of a degree. */
export function spotAt(x: number, y: number): Spot {
  const tenth = (degrees: number) => Math.round(degrees * 10) / 10
  const longitude = (x - ORIGIN.x) / DEGREE
  return { latitude: tenth((ORIGIN.y - y) / DEGREE), longitude: tenth(longitude > 180 ? longitude - 360 : longitude) }
}

export const spotText = ({ latitude, longitude }: Spot): string =>
  latitude === null || longitude === null ? "" : `${latitude}, ${longitude}`

function side(number: string, letter: string | undefined, negative: string): number {
  const value = Number(number.replace("−", "-"))
  return letter?.toUpperCase() === negative ? -Math.abs(value) : value
}

/** `[user@]host[:port]` as ssh writes it. */
export const isDestination = (text: string): boolean =>
  /^(?:[A-Za-z0-9._-]+@)?(?:[A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\]|[0-9a-fA-F:]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)(?::\d{1,5})?$/.test(text.trim())
