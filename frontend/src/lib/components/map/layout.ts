/** Where markers and their labels stand on the map: pure. All lengths in CSS pixels. */
import { severity, type Shape } from "$lib/facts/status"

export interface Pin {
  id: string
  name: string
  place: string
  x: number
  y: number
  shape: Shape
  sessions: number
}

/** Pins that are too near to each other to be told apart. */
export interface Marker {
  /** Of its pins, in order. */
  id: string
  pins: readonly Pin[]
  x: number
  y: number
  /** The worst of them. */
  shape: Shape
  sessions: number
}

export interface Label {
  x: number
  y: number
  anchor: "start" | "middle" | "end"
  text: string
}

const weight = (shape: Shape): number => severity({ shape, word: "" })

export function markerOf(pins: readonly Pin[]): Marker {
  const mean = (of: (pin: Pin) => number) => pins.reduce((sum, pin) => sum + of(pin), 0) / pins.length
  return {
    id: pins.map((pin) => pin.id).join(" "),
    pins,
    x: mean((pin) => pin.x),
    y: mean((pin) => pin.y),
    shape: pins.reduce((worst, pin) => (weight(pin.shape) < weight(worst) ? pin.shape : worst), pins[0]!.shape),
    sessions: pins.reduce((sum, pin) => sum + pin.sessions, 0),
  }
}

/** Ids of what belongs together because it is nearer than `near`, the nearest first. Only where they are counts. */
export function cluster(pins: readonly Pick<Pin, "id" | "x" | "y">[], near: number): string[][] {
  const groups = pins.toSorted((a, b) => a.id.localeCompare(b.id)).map(({ id, x, y }) => ({ ids: [id], x, y }))
  for (;;) {
    let best: { a: number; b: number; apart: number } | null = null
    for (let a = 0; a < groups.length; a += 1)
      for (let b = a + 1; b < groups.length; b += 1) {
        const apart = Math.hypot(groups[a]!.x - groups[b]!.x, groups[a]!.y - groups[b]!.y)
        if (apart < (best?.apart ?? near)) best = { a, b, apart }
      }
    if (!best) return groups.map((group) => group.ids)
    const gone = groups.splice(best.b, 1)[0]!
    const kept = groups[best.a]!
    const [m, n] = [kept.ids.length, gone.ids.length]
    kept.x = (kept.x * m + gone.x * n) / (m + n)
    kept.y = (kept.y * m + gone.y * n) / (m + n)
    kept.ids.push(...gone.ids)
  }
}

/** Area by sessions; nothing where there are none. */
export function haloOf(sessions: number, most: number): number {
  return sessions > 0 ? 10 + 20 * Math.sqrt(sessions / Math.max(1, most)) : 0
}

/** `fra ams lon` for fra-1, fra-2, ams-1 and lon-1; where names tell nothing apart, the place. */
export function nameOf({ pins }: Marker): string {
  if (pins.length === 1) return pins[0]!.name
  const by = pins.toSorted((a, b) => b.sessions - a.sessions || a.name.localeCompare(b.name))
  const stems = [...new Set(by.map(({ name }) => name.replace(/[-_. ]?\d+$/, "") || name))]
  const places = new Set(pins.map(({ place }) => place))
  if (stems.length === 1 && places.size === 1) return pins[0]!.place || stems[0]!
  return stems.length > 3 ? `${stems.slice(0, 2).join(" ")} +${stems.length - 2}` : stems.join(" ")
}

interface Box {
  left: number
  right: number
  top: number
  bottom: number
}

const CHARACTER = 7
const LINE = 16
const meets = (a: Box, b: Box): boolean => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom

/** A label for each marker beside which there is room: right, left, below or above; the worst and the fullest first. */
export function labels(markers: readonly Marker[], size: { width: number; height: number }): Map<string, Label> {
  const taken: Box[] = markers.map(({ x, y, pins }) => {
    const half = pins.length > 1 ? 14 : 9
    return { left: x - half, right: x + half, top: y - half, bottom: y + half }
  })
  const found = new Map<string, Label>()
  const order = markers.toSorted((a, b) => weight(a.shape) - weight(b.shape) || b.sessions - a.sessions || a.id.localeCompare(b.id))
  for (const marker of order) {
    const text = nameOf(marker)
    for (const { label, box } of places(marker, text)) {
      const inside = box.left >= 0 && box.right <= size.width && box.top >= 0 && box.bottom <= size.height
      if (!inside || taken.some((other) => meets(box, other))) continue
      taken.push(box)
      found.set(marker.id, label)
      break
    }
  }
  return found
}

function places({ x, y, pins }: Marker, text: string): { label: Label; box: Box }[] {
  const away = pins.length > 1 ? 18 : 13
  const long = [...text].length * CHARACTER
  const beside = { top: y - LINE / 2, bottom: y + LINE / 2 }
  const across = { left: x - long / 2, right: x + long / 2 }
  return [
    { label: { x: x + away, y, anchor: "start", text }, box: { left: x + away, right: x + away + long, ...beside } },
    { label: { x: x - away, y, anchor: "end", text }, box: { left: x - away - long, right: x - away, ...beside } },
    { label: { x, y: y + away + 6, anchor: "middle", text }, box: { ...across, top: y + away - 2, bottom: y + away + 14 } },
    { label: { x, y: y - away - 6, anchor: "middle", text }, box: { ...across, top: y - away - 14, bottom: y - away + 2 } },
  ]
}
