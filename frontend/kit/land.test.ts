import { describe, expect, it } from "vitest"
import { dotAt, DOTS, ROWS } from "../src/lib/components/map/projection.ts"
import { landRows } from "./land.ts"

describe("the land of the map", () => {
  const rows = landRows()

  const isLand = (latitude: number, longitude: number): boolean => {
    let best = { away: Infinity, row: 0, dot: 0 }
    for (let row = 0; row < ROWS; row += 1)
      for (let dot = 0; dot < DOTS; dot += 1) {
        const spot = dotAt(row, dot)
        const away = Math.hypot(spot.latitude - latitude, spot.longitude - longitude)
        if (away < best.away) best = { away, row, dot }
      }
    const runs = rows[best.row]!
    return runs.some((start, at) => at % 2 === 0 && best.dot >= start && best.dot < start + runs[at + 1]!)
  }

  it.each([
    ["Frankfurt", 50.1, 8.7],
    ["Kansas", 38.5, -98],
    ["Brasília", -15.8, -47.9],
    ["Alice Springs", -23.7, 133.9],
    ["Chukotka, across the date line", 67.6, -176.4],
  ])("has %s", (_, latitude, longitude) => expect(isLand(latitude, longitude)).toBe(true))

  it.each([
    ["the Atlantic", 30, -40],
    ["the Pacific", 0, -150],
    ["the Indian Ocean", -20, 80],
  ])("leaves %s open", (_, latitude, longitude) => expect(isLand(latitude, longitude)).toBe(false))

  it("has the size of a picture, not of an atlas", () => expect(JSON.stringify(rows).length).toBeLessThan(30_000))
})
