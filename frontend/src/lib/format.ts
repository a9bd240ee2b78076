/** Numbers, times and ages as the operator's locale writes them. Ages take whole milliseconds. */

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
/** From here on a date says more than a number of days. */
const LONG_AGO = 30 * DAY

const NBSP = "\u00a0"

const numbers = new Intl.NumberFormat()
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" })
const dayAndMonth = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" })
const fullDate = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" })
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" })
const names = new Intl.ListFormat("en", { type: "conjunction" })

export const count = (n: number): string => numbers.format(n)
export const list = (items: readonly string[]): string => names.format(items)

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

/** Time of day when it is today by the reader's clock, else the date. */
export function moment(at: Date, now: Date): string {
  if (at.toDateString() === now.toDateString()) return clock.format(at)
  return date(at, now)
}

export function date(at: Date, now: Date): string {
  const recent = at.getFullYear() === now.getFullYear() || now.getTime() - at.getTime() < LONG_AGO
  return (recent ? dayAndMonth : fullDate).format(at)
}

/** Date, time to the second and zone, for tooltips. */
export const exactly = (at: Date): string => exact.format(at)
