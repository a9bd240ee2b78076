import { t } from "$lib/i18n/index.svelte"
import { PROTOCOLS, type GroupRecord } from "./records"

export type GroupValues = Pick<GroupRecord, "name" | "note" | "node_tags" | "protocols" | "everybody">

const TAG = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/
const MOST_TAGS = 32

/** What is said of a group, and what is wrong with it. */
export class GroupForm {
  name = $state("")
  note = $state("")
  tags: readonly string[] = $state.raw([])
  protocols: readonly string[] = $state.raw(PROTOCOLS)
  everybody = $state(false)
  readonly #base: GroupRecord | null

  constructor(base: GroupRecord | null = null) {
    this.#base = base
    if (!base) return
    this.name = base.name
    this.note = base.note
    this.tags = base.node_tags
    this.protocols = base.protocols
    this.everybody = base.everybody
  }

  toggle(what: "tags" | "protocols", word: string, on: boolean): void {
    const others = this[what].filter((one) => one !== word)
    this[what] = on ? [...others, word] : others
  }

  get values(): GroupValues {
    return {
      name: this.name.trim(),
      note: this.note.trim(),
      node_tags: this.tags.toSorted(),
      // As helm orders them; those of a newer helm stay.
      protocols: [...PROTOCOLS.filter((one) => this.protocols.includes(one)), ...this.protocols.filter((one) => !(PROTOCOLS as readonly string[]).includes(one))],
      everybody: this.everybody,
    }
  }

  get wrong(): { name: string | null; tags: string | null; protocols: string | null } {
    return {
      name: this.values.name ? null : t("common.required"),
      tags: this.tags.length > MOST_TAGS || this.tags.some((tag) => !TAG.test(tag)) ? t("people.tagWrong") : null,
      protocols: this.protocols.length ? null : t("people.protocolNeeded"),
    }
  }

  get fits(): boolean {
    return Object.values(this.wrong).every((one) => one === null)
  }

  /** What is to be different from the record that the form was opened with. */
  get changes(): Partial<GroupValues> {
    const base = this.#base
    const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b)
    return Object.fromEntries(Object.entries(this.values).filter(([key, value]) => !base || !same(value, base[key as keyof GroupValues])))
  }
}
