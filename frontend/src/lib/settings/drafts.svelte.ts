import { SvelteMap } from "svelte/reactivity"
import { api } from "$lib/api/client"
import { saveWithMerge } from "$lib/components/merge/merge.svelte"
import { withProof } from "$lib/components/proof/proof.svelte"
import { isSame } from "$lib/facts/merge"
import { whyText } from "$lib/facts/why"
import { t } from "$lib/i18n/index.svelte"
import { toasts } from "$lib/state/toasts.svelte"
import { BY_OWNERS, nameOf, valueText, type Setting, type Value } from "./settings"

interface Draft {
  /** The setting as it was when the reader began to change it. */
  base: Setting
  /** null: what is typed is no value. */
  value: Value | null
}

/** What the reader has changed and not saved yet. */
export class Drafts {
  readonly #drafts = new SvelteMap<string, Draft>()
  readonly #errors = new SvelteMap<string, string>()
  saving = $state(false)

  get size(): number {
    return this.#drafts.size
  }

  has(id: string): boolean {
    return this.#drafts.has(id)
  }

  valueOf(setting: Setting): Value {
    return this.#drafts.get(setting.id)?.value ?? setting.value
  }

  errorOf(id: string): string | null {
    return this.#errors.get(id) ?? null
  }

  set(setting: Setting, value: Value | null): void {
    const base = this.#drafts.get(setting.id)?.base ?? setting
    if (value !== null && isSame(value, base.value)) this.#drafts.delete(setting.id)
    else this.#drafts.set(setting.id, { base, value })
    if (value === null) this.#errors.set(setting.id, t("settings.wants", { wants: setting.wants }))
    else this.#errors.delete(setting.id)
  }

  discard(): void {
    this.#drafts.clear()
    this.#errors.clear()
  }

  /** Saves one after the other; what could not be saved stays, with the reason beside it. */
  async save(): Promise<void> {
    if (this.saving) return
    this.saving = true
    let saved = 0
    try {
      for (const [id, draft] of [...this.#drafts]) if (draft.value !== null && (await this.#send(id, draft.base, draft.value))) saved += 1
    } finally {
      this.saving = false
    }
    if (saved) toasts.done(t("settings.saved", { n: saved }))
  }

  async #send(id: string, base: Setting, value: Value): Promise<boolean> {
    const save = () =>
      saveWithMerge<Setting>({
        path: `/settings/${id}`,
        record: base,
        changes: { value },
        fields: [{ key: "value", label: nameOf(base), show: (one) => valueText(id, one), mono: Array.isArray(value) }],
        title: nameOf(base),
        send: (changes, version) => api.put<Setting>(`/settings/${id}`, changes, { version }),
      })
    try {
      const done = BY_OWNERS.has(id) ? await withProof(save) : await save()
      if (!done) return false
      this.#errors.delete(id)
      // What was typed meanwhile is another change.
      if (isSame(this.#drafts.get(id)?.value, value)) this.#drafts.delete(id)
      return true
    } catch (error) {
      this.#errors.set(id, whyText(error))
      return false
    }
  }
}
