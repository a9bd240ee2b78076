/** An equirectangular map from 78° N to 48° S, cut in the Bering Strait; degrees in, map units out. */
export const WIDTH = 1_000
export const HEIGHT = 352
const WEST = -170
const TOP = 79.4
const UNIT = WIDTH / 360

/** Degrees between two dots of land. */
export const STEP = 2.6
const NORTHMOST = 78
const SOUTHMOST = -48
export const ROWS = Math.floor((NORTHMOST - SOUTHMOST) / STEP) + 1
export const DOTS = Math.floor(360 / STEP)

export interface Spot {
  x: number
  y: number
}

export function project(latitude: number, longitude: number): Spot {
  return { x: ((((longitude - WEST) % 360) + 360) % 360) * UNIT, y: (TOP - latitude) * UNIT }
}

/** Where a dot is; every other row stands half a step to the east. */
export function dotAt(row: number, dot: number): { latitude: number; longitude: number } {
  const longitude = WEST + (dot + (row % 2) / 2) * STEP
  return { latitude: NORTHMOST - row * STEP, longitude: longitude > 180 ? longitude - 360 : longitude }
}

/** One path of all dots: strokes without length and with round ends. `rows` are runs of dots, start and length in turn. */
export function landPath(rows: readonly (readonly number[])[]): string {
  const parts: string[] = []
  rows.forEach((runs, row) => {
    for (let at = 0; at < runs.length; at += 2) {
      for (let dot = runs[at]!; dot < runs[at]! + runs[at + 1]!; dot += 1) {
        const { latitude, longitude } = dotAt(row, dot)
        const { x, y } = project(latitude, longitude)
        parts.push(`M${x.toFixed(1)} ${y.toFixed(1)}h0`)
      }
    }
  })
  return parts.join("")
}
