import { SvelteMap } from "svelte/reactivity"

/** Five minutes, a sample in five seconds: as often as helm's rows are read. */
const EVERY = 5_000
const KEPT = 60

/** The last rates of the rows that were on the screen, since this page is open: helm keeps them for nodes alone. */
export class Traces {
  readonly #kept = new SvelteMap<string, readonly number[]>()

  of(id: string): readonly number[] {
    return this.#kept.get(id) ?? []
  }

  /** Takes a sample of each now and then; returns the end of it. */
  follow(read: () => Iterable<readonly [string, number | null]>): () => void {
    const take = () => {
      for (const [id, value] of read()) if (value !== null) this.#kept.set(id, [...this.of(id), value].slice(-KEPT))
    }
    const timer = setInterval(take, EVERY)
    return () => clearInterval(timer)
  }
}
