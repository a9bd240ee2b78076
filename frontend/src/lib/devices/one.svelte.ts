import { api, ApiError, newKey, type Failure } from "$lib/api/client"
import type { Delta, Recorded } from "$lib/api/types"
import { saveWithMerge, type MergeField } from "$lib/components/merge/merge.svelte"
import { edits } from "$lib/state/edits.svelte"
import { fleet } from "$lib/state/fleet.svelte"

const SETTLE = 300
const RENEW = 5_000
const WRITTEN = 1_000

/** One record beside its list: read, kept true by the live feed, changed against the version that was seen. */
export class OneRecord<T extends Recorded> {
  value: T | null = $state.raw(null)
  failure: Failure | null = $state.raw(null)
  /** It was removed while it was looked at. */
  gone = $state(false)

  readonly path: string
  readonly #noun: string
  readonly #id: string
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(place: string, noun: string, id: string) {
    this.path = `${place}/${encodeURIComponent(id)}`
    this.#noun = noun
    this.#id = id
  }

  /** The record with one's own change on its way put over it. */
  get shown(): T | null {
    return this.value && edits.over(this.value)
  }

  follow(): () => void {
    void this.read()
    const ends = [fleet.onDelta(this.#noun, (delta) => this.#told(delta)), fleet.onPicture(() => this.#later())]
    return () => {
      for (const end of ends) end()
      clearTimeout(this.#timer)
    }
  }

  async read(): Promise<void> {
    try {
      const read = await api.get<T>(this.path)
      if (!this.value || read.version >= this.value.version) this.value = read
      this.failure = null
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      if (error.status === 404) this.gone = true
      else if (!this.value) this.failure = error.failure
    }
  }

  /**
   * Changes some of it, over the version that the form was opened with; where somebody was faster, both are shown side
   * by side. Returns whether it is stored; the reader may have gone back to the form.
   */
  async save(base: T, changes: Partial<T>, fields: readonly MergeField[], title: string): Promise<boolean> {
    const part = changes as Record<string, unknown>
    const stored = await edits.send(this.#id, part, () =>
      saveWithMerge<T>({ path: this.path, record: base, changes: part, fields, title }),
    )
    if (!stored) return false
    this.value = stored
    void this.read()
    return true
  }

  /** A verb of its own, as `disable`; returns the record as it is then. */
  async act(verb: string, part: Partial<T>, failed?: string): Promise<T | null> {
    const version = this.value?.version
    if (version === undefined) return null
    const answer = await edits.send(
      this.#id,
      part,
      () => api.act<T>(`${this.path}/${verb}`, version, { once: newKey() }),
      failed,
    )
    if (answer) this.value = answer
    return answer
  }

  #told(delta: Delta): void {
    if (delta.id !== this.#id) return
    if (delta.record === null && delta.kind.endsWith("_removed")) this.gone = true
    else this.#later()
  }

  #later(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      void this.read()
    }, SETTLE)
  }
}

/** One row of a view that may not be in the list: figures that are in no record. */
export class OneRow<R extends { id: string }> {
  value: R | null = $state.raw(null)
  readonly #kind: string
  readonly #noun: string
  readonly #id: string
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(kind: string, noun: string, id: string) {
    this.#kind = kind
    this.#noun = noun
    this.#id = id
  }

  follow(): () => void {
    void this.read()
    // What happened a moment ago may not be in what helm has written.
    const again = setTimeout(() => void this.read(), WRITTEN)
    const soon = () => {
      this.#timer ??= setTimeout(() => {
        this.#timer = undefined
        void this.read()
      }, SETTLE)
    }
    const ends = [
      fleet.onDelta(this.#noun, (delta) => delta.id === this.#id && soon()),
      fleet.onEvent((event) => event.device === this.#id && soon()),
      fleet.onPicture(soon),
    ]
    const renewing = setInterval(() => {
      if (!document.hidden) void this.read()
    }, RENEW)
    return () => {
      for (const end of ends) end()
      clearTimeout(again)
      clearInterval(renewing)
      clearTimeout(this.#timer)
    }
  }

  async read(): Promise<void> {
    this.value = (await readRows<R>(this.#kind, [this.#id]))?.[0] ?? this.value
  }
}

/** Rows of a view by their ids, a hundred at most; null where helm does not answer. */
export async function readRows<R>(kind: string, ids: readonly string[]): Promise<R[] | null> {
  if (!ids.length) return []
  try {
    return (await api.get<{ items: R[] }>(`/views/${kind}/rows`, { query: { ids: ids.slice(0, 100) } })).items
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    return null
  }
}
