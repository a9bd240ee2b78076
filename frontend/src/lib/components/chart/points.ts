/** What helm's charts say, made into tracks of bit/s that can be drawn: pure. Times in milliseconds. */
import type { Chart } from "$lib/api/types"

export type Value = number | null

/** Tracks over the same slots; a slot is null where nobody looked. */
export interface Past {
  /** When the first slot begins. */
  since: number
  /** How long one is. */
  step: number
  tracks: Record<string, readonly Value[]>
}

export interface Extremes {
  lowest: Value
  highest: Value
  current: Value
}

const OCTET = 8
/** helm reads every node once in this time, and writes what it read a little later: before, a slot is not full. */
export const SAMPLE = 30_000
const WRITTEN = 5_000

const begins = (chart: Chart): number => Date.parse(chart.since)

/** Charts of one window cut to what they have in common, each as its values. */
function aligned(charts: readonly Chart[]): { since: number; step: number; rows: (readonly Value[])[] } {
  const step = charts[0]!.step * 1_000
  const since = Math.max(...charts.map(begins))
  const cut = charts.map((chart) => chart.values.slice(Math.round((since - begins(chart)) / step)))
  const length = Math.min(...cut.map((values) => values.length))
  return { since, step, rows: cut.map((values) => values.slice(0, length)) }
}

/** Slot by slot; what one of them does not know, nobody knows. */
export function sum(...rows: readonly (readonly Value[])[]): Value[] {
  return rows[0]!.map((_, at) =>
    rows.reduce<Value>((total, row) => (total === null || row[at] == null ? null : total + row[at]!), 0),
  )
}

const bits = (values: readonly Value[]): Value[] => values.map((value) => (value === null ? null : value * OCTET))

/** Down and up as devices see them: a node sends down and receives up. */
export function upAndDown(sent: Chart, received: Chart): Past {
  const { since, step, rows } = aligned([sent, received])
  return { since, step, tracks: { down: bits(rows[0]!), up: bits(rows[1]!) } }
}

/** Charts as they are, each by its name and times a factor. */
export function named(charts: Readonly<Record<string, readonly [Chart, number]>>): Past {
  const entries = Object.entries(charts)
  const { since, step, rows } = aligned(entries.map(([, [chart]]) => chart))
  const tracks = entries.map(([name, [, factor]], at) => [name, rows[at]!.map((value) => (value === null ? null : value * factor))])
  return { since, step, tracks: Object.fromEntries(tracks) as Past["tracks"] }
}

/**
 * Both directions together, by protocol. Each argument is sent, then received. What was carried by nodes that do
 * not tell protocols apart is `untold`; there is no such track where nothing was.
 */
export function byProtocol(all: readonly Chart[], amneziawg: readonly Chart[], reality: readonly Chart[]): Past {
  const { since, step, rows } = aligned([...all, ...amneziawg, ...reality])
  const total = bits(sum(rows[0]!, rows[1]!))
  const told = [bits(sum(rows[2]!, rows[3]!)), bits(sum(rows[4]!, rows[5]!))]
  const [first, second] = told.map((values) => values.map((value, at) => (total[at] === null ? null : (value ?? 0))))
  const untold = total.map((value, at) => (value === null ? null : Math.max(0, value - first![at]! - second![at]!)))
  // Roundings of helm are no traffic.
  const some = untold.some((value, at) => value !== null && value > Math.max(8, total[at]! * 0.001))
  return { since, step, tracks: { amneziawg: first!, reality: second!, ...(some ? { untold } : {}) } }
}

export const lengthOf = (past: Past): number => Math.max(0, ...Object.values(past.tracks).map((values) => values.length))
/** When the last slot ends. */
export const endOf = (past: Past): number => past.since + past.step * lengthOf(past)

/** Whether another slot behind the last one is full by now. */
export const isFullAgain = (past: Past, now: number): boolean => now - WRITTEN - endOf(past) >= past.step

/** Without the slots that are not full yet: they would be drawn too low. */
export function settled(past: Past, now: number): Past {
  const full = Math.max(0, Math.floor((now - WRITTEN - past.since) / past.step))
  return { ...past, tracks: each(past.tracks, (values) => values.slice(0, full)) }
}

/** `past` with the slot that is running, as the mean of what was sampled in it so far. */
export function withRunning(past: Past, recent: Past): Past {
  const begin = endOf(past)
  const inSlot = (values: readonly Value[]) =>
    values.filter((_, at) => {
      const when = recent.since + at * recent.step
      return when >= begin && when < begin + past.step
    })
  const found = each(recent.tracks, (values) => [mean(inSlot(values))])
  // A track that the last samples lack was nothing in them, if anything was sampled at all.
  const lacking = Object.values(found).some(([value]) => value !== null) ? 0 : null
  return { ...past, tracks: each(past.tracks, (values, name) => [...values, found[name] ? found[name][0]! : lacking]) }
}

function mean(values: readonly Value[]): Value {
  const known = values.filter((value) => value !== null)
  return known.length ? known.reduce((total, value) => total + value, 0) / known.length : null
}

function each(
  tracks: Past["tracks"],
  change: (values: readonly Value[], name: string) => readonly Value[],
): Past["tracks"] {
  return Object.fromEntries(Object.entries(tracks).map(([name, values]) => [name, change(values, name)]))
}

/** Current is what the last slot says, or the one before it while nothing was sampled in the last. */
export function extremes(values: readonly Value[]): Extremes {
  const known = values.filter((value) => value !== null)
  return {
    lowest: known.length ? Math.min(...known) : null,
    highest: known.length ? Math.max(...known) : null,
    current: values.at(-1) ?? values.at(-2) ?? null,
  }
}

/** Each track on top of those before it, for drawing from the last to the first. */
export function stacked(rows: readonly (readonly Value[])[]): Value[][] {
  return rows.map((_, last) => sum(...rows.slice(0, last + 1)))
}

/** At most `most` values, each the mean of its part. */
export function thinned(values: readonly Value[], most: number): Value[] {
  if (values.length <= most) return [...values]
  return Array.from({ length: most }, (_, at) => {
    const [from, to] = [at, at + 1].map((edge) => Math.floor((edge * values.length) / most))
    return mean(values.slice(from, to))
  })
}
