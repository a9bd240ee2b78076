/** Numbers, amounts, times and ages as the reader's locale writes them (ui.md §8). Ages take whole milliseconds. */
import { i18n } from "$lib/i18n/index.svelte"

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
export const DAY = 24 * HOUR
/** From here on a date says more than a number of days. */
const LONG_AGO = 30 * DAY

export const NBSP = "\u00a0"
export const NONE = "–"

const kept = new Map<string, unknown>()

/** Making a formatter costs as much as a hundred uses of it. */
function once<T>(kind: string, make: (region: string) => T): T {
  const key = `${i18n.region} ${kind}`
  let found = kept.get(key) as T | undefined
  if (found === undefined) kept.set(key, (found = make(i18n.region)))
  return found
}

const numbers = (digits: number) =>
  once(`n${digits}`, (region) => new Intl.NumberFormat(region, { maximumFractionDigits: digits }))
const dated = (kind: string, options: Intl.DateTimeFormatOptions) =>
  once(kind, (region) => new Intl.DateTimeFormat(region, options))

export const count = (n: number): string => minus(numbers(0).format(n))
/** `0.42`, as loads are written. */
export const decimal = (n: number): string =>
  once("d2", (region) => new Intl.NumberFormat(region, { minimumFractionDigits: 2, maximumFractionDigits: 2 })).format(n)
export const list = (items: readonly string[]): string =>
  once("list", (region) => new Intl.ListFormat(region, { type: "conjunction" })).format(items)

const minus = (text: string) => text.replace("-", "−")

/** Three significant digits, never a fourth by rounding. */
function significant(value: number): string {
  const digits = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2
  return once(`s${digits}`, (region) =>
    new Intl.NumberFormat(region, { minimumFractionDigits: digits, maximumFractionDigits: digits }),
  ).format(value)
}

function scaled(value: number, base: number, units: readonly string[]): [number, string] {
  let power = 0
  let left = value
  while (left >= base * 0.9995 && power < units.length - 1) {
    left /= base
    power += 1
  }
  return [left, units[power]!]
}

const RATES = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"] as const
const AMOUNTS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] as const

/** A rate of `bits` a second in parts, for figures whose unit is set smaller. */
export function rateParts(bits: number | null | undefined): { value: string; unit: string } {
  if (bits === null || bits === undefined) return { value: NONE, unit: "" }
  const [value, unit] = scaled(Math.max(0, bits), 1_000, RATES)
  return { value: unit === "bit/s" ? count(Math.round(value)) : significant(value), unit }
}

/** `1.24 Gbit/s`, decimal; `–` for what nobody knows. */
export function rate(bits: number | null | undefined): string {
  const { value, unit } = rateParts(bits)
  return unit ? `${value}${NBSP}${unit}` : value
}

/** `412 GiB`, binary; `–` for what nobody knows. */
export function bytes(octets: number | null | undefined): string {
  if (octets === null || octets === undefined) return NONE
  const [value, unit] = scaled(Math.max(0, octets), 1_024, AMOUNTS)
  return `${unit === "B" ? count(Math.round(value)) : significant(value)}${NBSP}${unit}`
}

/** `41 %`; one decimal below 1 %. `share` is 0 to 1. */
export function percent(share: number | null | undefined): string {
  if (share === null || share === undefined || !Number.isFinite(share)) return NONE
  const value = share * 100
  return `${numbers(value > 0 && value < 1 ? 1 : 0).format(value)}${NBSP}%`
}

/** `3 s`, `1 min 08 s`, `3 h 20 min`, `9 d`; a clock that runs ahead counts as now. */
export function duration(ms: number): string {
  const age = Math.max(0, ms)
  const part = (unit: number, wrap: number) => Math.floor(age / unit) % wrap
  const two = (n: number) => String(n).padStart(2, "0")
  if (age < MINUTE) return `${part(SECOND, 60)}${NBSP}s`
  if (age < HOUR) return `${part(MINUTE, 60)}${NBSP}min${NBSP}${two(part(SECOND, 60))}${NBSP}s`
  if (age < DAY) return `${part(HOUR, 24)}${NBSP}h${NBSP}${two(part(MINUTE, 60))}${NBSP}min`
  return `${count(Math.floor(age / DAY))}${NBSP}d`
}

/** `8.6 s`, for how long a step took; from a minute on as `duration`. */
export const took = (seconds: number): string =>
  seconds < 59.95
    ? `${once("d1", (region) => new Intl.NumberFormat(region, { minimumFractionDigits: 1, maximumFractionDigits: 1 })).format(seconds)}${NBSP}s`
    : duration(seconds * SECOND)

/** As `duration`, but a date from 30 days on. */
export function ago(at: number, now: number): string {
  return now - at > LONG_AGO ? date(new Date(at), new Date(now)) : duration(now - at)
}

/** `14:32`, for what runs out within the hour. */
export function countdown(ms: number): string {
  const left = Math.max(0, Math.ceil(ms / SECOND))
  return `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`
}

/** Time of day when it is today by the reader's clock, else the date and the time. */
export function moment(at: Date, now: Date): string {
  if (at.toDateString() === now.toDateString()) return timeOfDay(at)
  return `${date(at, now)}, ${dated("hm", { hour: "2-digit", minute: "2-digit" }).format(at)}`
}

export const timeOfDay = (at: Date): string =>
  dated("time", { hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(at)

/** `12 Mar`, with the year if it is another one. */
export function date(at: Date, now: Date): string {
  const same = at.getFullYear() === now.getFullYear()
  return dated(same ? "day" : "date", {
    day: "numeric",
    month: "short",
    ...(same ? {} : { year: "numeric" as const }),
  }).format(at)
}

/** Date, time to the second and zone, for tooltips. */
export const exactly = (at: Date): string => dated("exact", { dateStyle: "medium", timeStyle: "long" }).format(at)

/** First 8 of a hash. */
export const hash8 = (hex: string): string => hex.slice(0, 8)

/** `SHA256:q7Lw…e0Tk` of a key's text or fingerprint. */
export function keyShort(key: string): string {
  const [, kind = "", rest = key] = /^([A-Za-z0-9-]+:)?(.*)$/s.exec(key) ?? []
  return rest.length <= 12 ? key : `${kind}${rest.slice(0, 4)}…${rest.slice(-4)}`
}
