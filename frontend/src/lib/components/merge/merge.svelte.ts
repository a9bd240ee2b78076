import { api, ApiError } from "$lib/api/client"
import { choose, compare, outcome, type Choices, type Difference, type Side, type Values } from "$lib/facts/merge"
import { count, NONE } from "$lib/format"
import { t } from "$lib/i18n/index.svelte"
import { announce } from "$lib/state/announce.svelte"
import { toasts } from "$lib/state/toasts.svelte"

/** One field as the reader knows it. */
export interface MergeField {
  key: string
  label: string
  /** The value in words; by default as JSON says it: lists with commas, yes and no, `–` for none. */
  show?: (value: unknown) => string
  /** Addresses, keys. */
  mono?: boolean
}

export interface MergeRequest<R> {
  /** Of the record, below /api/v1: `/nodes/0199…`. */
  path: string
  /** As it was when the form was opened: the common ancestor. */
  record: R
  /** What is to be different from it. */
  changes: Values
  /** All that the form shows, in its order; fields that are not here are kept out of the choice. */
  fields: readonly MergeField[]
  /** The thing's name: "Tomas saved `title` while you were editing". */
  title: string
  /** How it is sent, where that is not PATCH. */
  send?: (changes: Values, version: number) => Promise<R>
}

interface Stored extends Values {
  version: number
  updated_at?: string
  updated_by?: string
}

/** A conflict that waits for a person. */
export class Conflict {
  readonly title: string
  readonly fields: readonly MergeField[]
  readonly from: number
  /** The version of theirs that is shown. */
  stored: Stored = $state.raw({ version: 0 })
  choices: Choices = $state.raw({})
  saving = $state(false)
  readonly differences: readonly Difference[]
  readonly changes: Values

  readonly #was: Stored
  readonly #mine: Values
  readonly #send: (changes: Values, version: number) => Promise<unknown>
  readonly #whole: (stored: Stored) => Promise<Stored>
  readonly #settle: (record: unknown) => void

  constructor(request: MergeRequest<unknown>, stored: Stored, settle: (record: unknown) => void) {
    this.title = request.title
    this.fields = request.fields
    this.#was = request.record as Stored
    this.from = this.#was.version
    this.#mine = request.changes
    this.#send = request.send ?? ((changes, version) => api.patch(request.path, changes, version))
    this.#whole = (now) => whole(request, now)
    this.#settle = settle
    this.stored = stored
    const keys = this.fields.map(({ key }) => key)
    this.differences = $derived(compare(keys, this.#was, this.stored, this.#mine))
    this.choices = choose(compare(keys, this.#was, stored, this.#mine))
    this.changes = $derived(outcome(this.differences, this.choices))
  }

  /** Whether what I wanted is stored already, whoever stored it. */
  get idle(): boolean {
    return this.differences.every(({ changed }) => changed === "equal" || changed === "theirs")
  }

  pick(key: string, side: Side): void {
    this.choices = { ...this.choices, [key]: side }
  }

  /** Saves what was chosen. Who has been faster once more is shown in place, and the choices stay. */
  async save(): Promise<void> {
    if (this.saving) return
    if (!Object.keys(this.changes).length) return this.#settle(this.stored)
    this.saving = true
    try {
      this.#settle(await this.#send(this.changes, this.stored.version))
    } catch (error) {
      const newer = storedIn(error)
      if (newer) this.#refresh(await this.#whole(newer))
      else toasts.fail(error)
    } finally {
      this.saving = false
    }
  }

  keepEditing(): void {
    this.#settle(null)
  }

  #refresh(stored: Stored): void {
    const { choices } = this
    this.stored = stored
    this.choices = choose(this.differences, choices)
    announce(t("merge.again", { who: stored.updated_by ?? "", version: count(stored.version) }))
  }
}

/** The conflict that is shown; others wait for it. */
class Conflicts {
  current: Conflict | null = $state.raw(null)
  #turn: Promise<unknown> = Promise.resolve()

  ask<R>(request: MergeRequest<R>, stored: Stored): Promise<R | null> {
    const asked = this.#turn.then(
      () =>
        new Promise<R | null>((resolve) => {
          const conflict = new Conflict(request as MergeRequest<unknown>, stored, (record) => {
            // What is saved after somebody went back to the form settles nothing any more.
            if (this.current === conflict) this.current = null
            resolve(record as R | null)
          })
          if (conflict.idle) resolve(stored as unknown as R)
          else this.current = conflict
        }),
    )
    this.#turn = asked
    return asked
  }
}

export const conflicts = new Conflicts()

function storedIn(error: unknown): Stored | null {
  const current = error instanceof ApiError && error.status === 409 ? error.current : null
  return current && typeof current["version"] === "number" ? (current as Stored) : null
}

/** A 409 shows a record as lists do; what only a record alone shows, such as a sink's address, is asked for. */
async function whole(request: MergeRequest<unknown>, stored: Stored): Promise<Stored> {
  const record = request.record as Values
  if (request.fields.every(({ key }) => key in stored || !(key in record))) return stored
  try {
    const found = await api.get<Stored>(request.path)
    return found.version >= stored.version ? found : stored
  } catch {
    return stored
  }
}

/**
 * Saves changes of a record. Where somebody else has saved it meanwhile, both versions are shown side by side.
 *
 * Resolves with the record as it is stored now, or with null where the reader went back to the form. Throws ApiError
 * for whatever else was wrong.
 */
export async function saveWithMerge<R extends { version: number }>(request: MergeRequest<R>): Promise<R | null> {
  const send = request.send ?? ((changes: Values, version: number) => api.patch<R>(request.path, changes, version))
  try {
    return await send(request.changes, request.record.version)
  } catch (error) {
    const stored = storedIn(error)
    if (!stored) throw error
    return conflicts.ask(request, await whole(request as MergeRequest<unknown>, stored))
  }
}

/** A value in words. */
export function shown(value: unknown): string {
  if (value === null || value === undefined || value === "") return NONE
  if (typeof value === "boolean") return value ? t("common.yes") : t("common.no")
  if (typeof value === "number") return count(value)
  if (Array.isArray(value)) return value.length ? value.map((one) => (typeof one === "string" ? one : shown(one))).join(", ") : NONE
  return typeof value === "object" ? JSON.stringify(value) : String(value)
}
