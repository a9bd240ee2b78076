/** How long rows stay still after the reader has looked away. */
const AFTER = 1_000

/** "Held while you look": while a table is under the pointer, has focus in a row, or text is selected. */
class Hold {
  #reasons = $state(0)
  #until = $state(0)
  #timer: ReturnType<typeof setTimeout> | undefined

  get on(): boolean {
    return this.#reasons > 0 || this.#until > 0
  }

  begin(): () => void {
    this.#reasons += 1
    let begun = true
    return () => {
      if (!begun) return
      begun = false
      this.#reasons -= 1
      if (this.#reasons > 0) return
      clearTimeout(this.#timer)
      this.#until = 1
      this.#timer = setTimeout(() => (this.#until = 0), AFTER)
    }
  }
}

export const hold = new Hold()

/** Svelte attachment: holds while the pointer is over the element, the focus is in a row of it or text in it is selected. */
export function holds(element: HTMLElement): () => void {
  const ends = new Map<string, () => void>()
  const set = (reason: string, on: boolean) => {
    if (on && !ends.has(reason)) ends.set(reason, hold.begin())
    else if (!on) {
      ends.get(reason)?.()
      ends.delete(reason)
    }
  }
  const over = () => set("pointer", true)
  const out = () => set("pointer", false)
  const focus = () => set("focus", element.contains(document.activeElement) && document.activeElement !== element)
  const select = () => {
    const chosen = getSelection()
    set("text", Boolean(chosen && !chosen.isCollapsed && chosen.anchorNode && element.contains(chosen.anchorNode)))
  }
  element.addEventListener("pointerenter", over)
  element.addEventListener("pointerleave", out)
  element.addEventListener("focusin", focus)
  element.addEventListener("focusout", () => queueMicrotask(focus))
  document.addEventListener("selectionchange", select)
  return () => {
    document.removeEventListener("selectionchange", select)
    for (const reason of [...ends.keys()]) set(reason, false)
  }
}
