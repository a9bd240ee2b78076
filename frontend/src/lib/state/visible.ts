/** Runs `task` while the page can be seen, anew each time it comes back; returns the end of it. */
export function whileVisible(task: (signal: AbortSignal) => Promise<void>): () => void {
  let running: AbortController | null = null
  const follow = () => {
    if (document.hidden) {
      running?.abort()
      running = null
    } else if (!running) {
      running = new AbortController()
      void task(running.signal)
    }
  }
  document.addEventListener("visibilitychange", follow)
  follow()
  return () => {
    document.removeEventListener("visibilitychange", follow)
    running?.abort()
  }
}
