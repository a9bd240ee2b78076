/** Amounts and rates as people type them, and back: 50 GB, 1,5 TiB, 20 Mbit/s. */

const AMOUNTS: Record<string, number> = { b: 1 }
const RATES: Record<string, number> = { bit: 1 }
for (const [at, letter] of [...["k", "m", "g", "t", "p"].entries()]) {
  AMOUNTS[`${letter}b`] = 1_000 ** (at + 1)
  AMOUNTS[`${letter}ib`] = 1_024 ** (at + 1)
  RATES[`${letter}bit`] = 1_000 ** (at + 1)
}
/** helm's own bound: 64-bit counters, with room for sums. */
const LARGEST = 2 ** 62

/** Nothing typed is no limit (null); what cannot be read is `undefined`. */
type Read = number | null | undefined

export const parseAmount = (text: string): Read => read(text, AMOUNTS, "b")
export const parseRate = (text: string): Read => read(text.replace(/\/s$|ps$/i, ""), RATES, "")

/** As somebody would type it, without losing an octet. */
export const formatAmount = (octets: number | null): string =>
  typed(octets, ["PiB", "TiB", "GiB", "MiB", "KiB", "PB", "TB", "GB", "MB", "KB", "B"], AMOUNTS)
export const formatRate = (bits: number | null): string =>
  typed(bits, ["Gbit", "Mbit", "kbit", "bit"], RATES, "/s")

function read(text: string, units: Record<string, number>, usual: string): Read {
  const plain = text.replace(/\s/g, "")
  if (plain === "") return null
  const [, digits = "", unit = ""] = /^(\d+(?:[.,]\d+)?)([a-z]*)$/i.exec(plain) ?? []
  const scale = units[unit.toLowerCase() || usual]
  if (!digits || scale === undefined) return undefined
  const value = Math.round(Number(digits.replace(",", ".")) * scale)
  return value > 0 && value < LARGEST ? value : undefined
}

function typed(value: number | null, names: readonly string[], units: Record<string, number>, end = ""): string {
  if (value === null) return ""
  const scaled = names.map((name) => ({ name, count: value / (units[name.toLowerCase()] ?? 1) }))
  const whole = scaled.filter(({ count }) => Number.isInteger(count))
  const { name, count } = whole.reduce((best, one) => (one.count < best.count ? one : best))
  return `${count} ${name}${end}`
}

/** For `<input type="datetime-local">`, by the reader's clock; to the minute. */
export function toLocal(at: string | null): string {
  if (at === null) return ""
  const when = new Date(at)
  return new Date(when.getTime() - when.getTimezoneOffset() * 60_000).toISOString().slice(0, 16)
}

/** Back; what is not a time is `undefined`. A minute that did not change keeps its seconds. */
export function fromLocal(text: string, before: string | null): string | null | undefined {
  if (text === "") return null
  if (text === toLocal(before)) return before
  const when = new Date(text)
  return Number.isNaN(when.getTime()) ? undefined : when.toISOString()
}
