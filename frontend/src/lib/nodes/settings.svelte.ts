import { saveWithMerge, type MergeField } from "$lib/components/merge/merge.svelte"
import { NONE } from "$lib/format"
import { t, type Key } from "$lib/i18n/index.svelte"
import { isDestination, port, ports, spot, spotText, words } from "./fields"
import type { NodeRecord, RelayRecord } from "./types"

type AnyRecord = NodeRecord | RelayRecord
type Draft = Record<string, string>
const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b)

export interface SettingField {
  /** Of the form; coordinates are two of the record. */
  key: string
  kind: "text" | "mono" | "number" | "area"
  /** Of the record, as text. */
  read: (record: AnyRecord) => string
  /** What the record takes; null: it is not understood. */
  mean: (text: string) => Record<string, unknown> | null
}

const plain = (key: string, kind: SettingField["kind"] = "text"): SettingField => ({
  key,
  kind,
  read: (record) => String((record as unknown as Record<string, unknown>)[key] ?? ""),
  mean: (text) => ({ [key]: text.trim() }),
})
const needed = (field: SettingField): SettingField => ({ ...field, mean: (text) => (text.trim() ? field.mean(text) : null) })
const aPort = (key: string): SettingField => ({
  ...plain(key, "number"),
  mean: (text) => (port(text) === null ? null : { [key]: port(text) }),
})
const listed = (key: string, read: (text: string) => readonly unknown[] | null): SettingField => ({
  key,
  kind: "mono",
  read: (record) => ((record as unknown as Record<string, unknown[]>)[key] ?? []).join(", "),
  mean: (text) => (read(text) === null ? null : { [key]: read(text) }),
})
const COORDINATES: SettingField = {
  key: "coordinates",
  kind: "mono",
  read: spotText,
  mean: (text) => spot(text) as Record<string, unknown> | null,
}
const SSH: SettingField = {
  ...plain("ssh_destination", "mono"),
  mean: (text) => (!text.trim() || isDestination(text) ? { ssh_destination: text.trim() } : null),
}

export const NODE_FIELDS: readonly SettingField[] = [
  needed(plain("name")),
  needed(plain("address", "mono")),
  plain("place"),
  COORDINATES,
  listed("tags", words),
  plain("note", "area"),
  aPort("control_port"),
  aPort("awg_port"),
  listed("spare_ports", ports),
  SSH,
]
export const RELAY_FIELDS: readonly SettingField[] = [
  needed(plain("name")),
  needed(plain("address", "mono")),
  plain("place"),
  COORDINATES,
  plain("note", "area"),
  aPort("ingress_port"),
  aPort("tunnel_port"),
  SSH,
]

const degrees = (value: unknown): string => (typeof value === "number" ? String(value) : NONE)

/** The form of one node or relay: what is typed, over the version with which it began. */
export class SettingsForm {
  draft: Draft = $state({})
  saving = $state(false)
  readonly fields: readonly SettingField[]
  readonly #path: string
  #base: AnyRecord = $state.raw(null as unknown as AnyRecord)

  constructor(fields: readonly SettingField[], path: string, record: AnyRecord) {
    this.fields = fields
    this.#path = path
    this.begin(record)
  }

  /** By key of the form: what helm would be told; null where it is not understood. */
  readonly meant = $derived.by(() => new Map(this.fields.map((field) => [field.key, field.mean(this.draft[field.key] ?? "")])))
  readonly dirty = $derived.by(() => this.fields.filter((field) => this.draft[field.key] !== field.read(this.#base)).map((field) => field.key))
  readonly wrong = $derived.by(() => this.fields.filter((field) => this.dirty.includes(field.key) && this.meant.get(field.key) === null).map((field) => field.key))
  readonly changes = $derived.by(() => {
    const base = this.#base as unknown as Record<string, unknown>
    const parts = this.dirty.flatMap((key) => Object.entries(this.meant.get(key) ?? {}))
    return Object.fromEntries(parts.filter(([name, value]) => !same(base[name], value)))
  })

  begin(record: AnyRecord): void {
    this.#base = record
    this.draft = Object.fromEntries(this.fields.map((field) => [field.key, field.read(record)]))
  }

  /** The record has changed: an untouched form shows it; a touched one keeps its ancestor, and the merge tells. */
  changed(record: AnyRecord): void {
    if (record.version !== this.#base.version && !this.dirty.length && !this.saving) this.begin(record)
  }

  /** Throws ApiError. Returns whether it is stored. */
  async save(): Promise<boolean> {
    this.saving = true
    try {
      const held = await saveWithMerge<AnyRecord>({
        path: this.#path,
        record: this.#base,
        changes: this.changes,
        fields: this.#mergeFields(),
        title: this.#base.name,
      })
      if (held) this.begin({ ...this.#base, ...held })
      return held !== null
    } finally {
      this.saving = false
    }
  }

  #mergeFields(): MergeField[] {
    return this.fields.flatMap((field): MergeField[] => {
      const mono = field.kind === "mono"
      if (field.key === "coordinates")
        return ["latitude", "longitude"].map((key) => ({ key, label: t(`nodes.${key}` as Key), mono, show: degrees }))
      return [{ key: field.key, label: t(`nodes.field.${field.key}` as Key), mono }]
    })
  }
}
