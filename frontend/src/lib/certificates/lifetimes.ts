import { DAY, duration } from "$lib/format"
import { t } from "$lib/i18n/index.svelte"

interface Kept {
  key: string
  begins_at?: string
  ends_at: string
  renews_at?: string
}

export interface Rotation {
  state: string
  subjects: string[]
  asked: string | null
  waiting: { role: string; id: string; name: string }[]
  waiting_count?: number
  [more: string]: unknown
}

/** `GET /api/v1/ca`. */
export interface Authority {
  root: Kept
  fleet_ca: Kept
  device_ca: Kept | null
  next_fleet_ca: Kept | null
  next_device_ca: Kept | null
  controller: Kept
  manifest: { version: number; expires_at: string }
  signing_key: string
  noise_key: string
  deny_list: { epoch: number; version: number; entries: number }
  rotation: Rotation | null
  due: { role: string; id: string; name: string; ends_at: string }[]
}

/** `GET /api/v1/certificates`. */
export interface Certificate {
  id: string
  role: string
  subject: string
  serial: string
  state: string
  not_before_at: string
  not_after_at: string
}

/** One bar of the timeline. */
export interface Lifetime {
  id: string
  name: string
  role: string
  begins: number | null
  ends: number
  renews: number | null
}

/** A leaf is renewed after two thirds of its life, and a share of 18 days. */
const RENEWED_AT = 2 / 3

export function authorityLifetimes(ca: Authority): Lifetime[] {
  const rows: [string, string, Kept | null][] = [
    ["root", t("certificates.root"), ca.root],
    ["fleet_ca", t("certificates.fleetCa"), ca.fleet_ca],
    ["next_fleet_ca", t("certificates.nextFleetCa"), ca.next_fleet_ca],
    ["device_ca", t("certificates.deviceCa"), ca.device_ca],
    ["next_device_ca", t("certificates.nextDeviceCa"), ca.next_device_ca],
  ]
  return rows.flatMap(([id, name, kept]) =>
    kept === null
      ? []
      : [{ id, name, role: "authority", begins: kept.begins_at ? Date.parse(kept.begins_at) : null, ends: Date.parse(kept.ends_at), renews: null }],
  )
}

export function memberLifetime(certificate: Certificate, name: string): Lifetime {
  const [begins, ends] = [Date.parse(certificate.not_before_at), Date.parse(certificate.not_after_at)]
  return { id: certificate.id, name, role: certificate.role, begins, ends, renews: begins + (ends - begins) * RENEWED_AT }
}

/** What opens the page: what is due, else what comes next. */
export function certificatesSentence(lifetimes: readonly Lifetime[], due: number, now: number): string {
  if (due > 0) return t("certificates.due", { n: due })
  const next = lifetimes.filter((one) => one.renews !== null && one.renews > now).toSorted((a, b) => a.renews! - b.renews!)[0]
  return next
    ? t("certificates.next", { name: next.name, time: duration(next.renews! - now) })
    : t("certificates.nothingDue")
}

/** A number that warns carries its shape: renewal is overdue, or the end is near. */
export const isLate = (one: Lifetime, now: number): boolean =>
  one.renews === null ? one.ends - now < 180 * DAY : now > one.renews + 18 * DAY

/** From the earliest beginning to the latest end, with some air. */
export function span(lifetimes: readonly Lifetime[], now: number): [number, number] {
  const first = Math.min(now - 30 * DAY, ...lifetimes.flatMap((one) => one.begins ?? []))
  const last = Math.max(now + 400 * DAY, ...lifetimes.map((one) => one.ends))
  return [first, last]
}
