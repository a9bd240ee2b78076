import type { Snippet } from "svelte"

/** What a page puts into the bar and the title: a trail behind its place, and its acts (one primary at most). */
class Bar {
  /** `Nodes › fra-1`: what stands behind the place. */
  trail: readonly Part[] = $state.raw([])
  acts: Snippet | null = $state.raw(null)
  #owner: object | null = null

  fill(owner: object, trail: readonly Part[], acts: Snippet | null): void {
    this.#owner = owner
    this.trail = trail
    this.acts = acts
  }

  /** The page that comes fills the bar before the one that goes has left it. */
  leave(owner: object): void {
    if (this.#owner === owner) this.fill(owner, [], null)
  }
}

interface Part {
  label: string
  href?: string
}

export const bar = new Bar()

/** Called while a page is set up; what it put there goes with it. */
export function useBar(read: () => { trail?: readonly Part[]; acts?: Snippet }): void {
  const owner = {}
  $effect.pre(() => {
    const { trail, acts } = read()
    bar.fill(owner, trail ?? [], acts ?? null)
  })
  $effect(() => () => bar.leave(owner))
}
