import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { geoBounds, geoContains } from "d3-geo"
import { feature } from "topojson-client"
import type { GeometryCollection, Topology } from "topojson-specification"
import type { Plugin } from "vite"
import { dotAt, DOTS, ROWS } from "../src/lib/components/map/projection.ts"

const NAME = "virtual:land"
const RESOLVED = `\0${NAME}`

/**
 * Where there is land, for the map of the overview: `virtual:land`, a module of its own that is loaded after first
 * paint. Natural Earth's land (public domain, 1:110 m), as runs of dots in rows.
 */
export function land(): Plugin {
  let text: string | undefined
  return {
    name: "land",
    resolveId: (id) => (id === NAME ? RESOLVED : undefined),
    load(id) {
      if (id !== RESOLVED) return undefined
      return (text ??= `export default ${JSON.stringify(landRows())}`)
    },
  }
}

type Polygon = { type: "Polygon"; coordinates: number[][][] }
interface Shore {
  polygon: Polygon
  west: number
  south: number
  east: number
  north: number
}

function shores(): Shore[] {
  const file = createRequire(import.meta.url).resolve("world-atlas/land-110m.json")
  const world = JSON.parse(readFileSync(file, "utf8")) as Topology<{ land: GeometryCollection }>
  return feature(world, world.objects.land).features.flatMap(({ geometry }) => {
    if (geometry.type !== "MultiPolygon") throw new Error(`world-atlas has changed: land is a ${geometry.type}`)
    return geometry.coordinates.map((coordinates): Shore => {
      const polygon: Polygon = { type: "Polygon", coordinates }
      const [[west, south], [east, north]] = geoBounds(polygon)
      return { polygon, west, south, east, north }
    })
  })
}

/** For each row from the north, runs of dots that are on land: start and length in turn. */
export function landRows(): number[][] {
  const all = shores()
  const isLand = (latitude: number, longitude: number): boolean =>
    all.some(({ polygon, west, south, east, north }) => {
      if (latitude < south || latitude > north) return false
      // A shore across the date line has its east west of its west.
      const between = west <= east ? longitude >= west && longitude <= east : longitude >= west || longitude <= east
      return between && geoContains(polygon, [longitude, latitude])
    })
  return Array.from({ length: ROWS }, (_, row) => {
    const runs: number[] = []
    for (let dot = 0; dot < DOTS; dot += 1) {
      const { latitude, longitude } = dotAt(row, dot)
      if (!isLand(latitude, longitude)) continue
      const last = runs.length - 2
      if (last >= 0 && runs[last]! + runs[last + 1]! === dot) runs[last + 1]! += 1
      else runs.push(dot, 1)
    }
    return runs
  })
}
