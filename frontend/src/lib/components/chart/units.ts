import { i18n } from "$lib/i18n/index.svelte"

const UNITS = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"] as const

export interface Unit {
  name: string
  divisor: number
}

/** The unit in which all figures of a chart are written, by the highest of its lines. */
export function unitFor(top: number): Unit {
  const power = Math.min(UNITS.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, top)) / 3)))
  return { name: UNITS[power]!, divisor: 1_000 ** power }
}

/** A figure in that unit, without it: three digits, `–` for what nobody knows; below zero is only a direction. */
export function inUnit(bits: number | null, { divisor }: Unit): string {
  if (bits === null) return "–"
  const value = Math.abs(bits) / divisor
  const digits = value >= 99.95 || value === 0 ? 0 : value >= 9.995 ? 1 : 2
  return new Intl.NumberFormat(i18n.region, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value)
}

/** For the lines of the scale, whose numbers are round. */
export const lineInUnit = (bits: number, { divisor }: Unit): string =>
  new Intl.NumberFormat(i18n.region, { maximumFractionDigits: 2 }).format(Math.abs(bits) / divisor)
