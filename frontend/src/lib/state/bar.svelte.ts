import type { Snippet } from "svelte"

/** What a page puts into the bar and the title: a trail behind its place, and its acts (one primary at most). */
class Bar {
  /** `Nodes › fra-1`: what stands behind the place. */
  trail: readonly { label: string; href?: string }[] = $state.raw([])
  acts: Snippet | null = $state.raw(null)
}

export const bar = new Bar()

/** Called while a page is set up; what it put there goes with it. */
export function useBar(read: () => { trail?: readonly { label: string; href?: string }[]; acts?: Snippet }): void {
  $effect.pre(() => {
    const { trail, acts } = read()
    bar.trail = trail ?? []
    bar.acts = acts ?? null
  })
  $effect(() => () => {
    bar.trail = []
    bar.acts = null
  })
}
