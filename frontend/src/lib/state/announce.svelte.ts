/** What screen readers hear politely: answers to own acts, and states of nodes, at most one in 5 s (ui.md §5.8). */
const EVERY = 5_000

class Announcer {
  text = $state("")
  #last = -Infinity
  #waiting: string | null = null
  #timer: ReturnType<typeof setTimeout> | undefined

  /** Says it at once: the answer to an act. */
  say(text: string): void {
    // The same words again would not be a change.
    this.text = this.text === text ? `${text}\u00a0` : text
    this.#last = Date.now()
  }

  /** Says it when nothing was said for a while; the newest wins. */
  sayLater(text: string): void {
    this.#waiting = text
    const wait = Math.max(0, this.#last + EVERY - Date.now())
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      if (this.#waiting !== null) this.say(this.#waiting)
      this.#waiting = null
    }, wait)
  }
}

export const announcer = new Announcer()
export const announce = (text: string): void => announcer.say(text)
