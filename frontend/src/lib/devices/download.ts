/** How long a browser may take to begin. */
const KEPT = 30_000
const kept = new Map<string, ReturnType<typeof setTimeout>>()

/** Saves a text as a file, from this page to this machine: by a `blob:` address of our own. */
export function download(name: string, text: string, type: string): void {
  const address = URL.createObjectURL(new Blob([text], { type }))
  const link = document.createElement("a")
  link.href = address
  link.download = name
  document.body.append(link)
  link.click()
  link.remove()
  kept.set(address, setTimeout(() => drop(address), KEPT))
}

/** Forgets what was saved last: the browser has begun by then, or nobody wants it. */
export function forgetDownloads(): void {
  for (const address of [...kept.keys()]) drop(address)
}

function drop(address: string): void {
  clearTimeout(kept.get(address))
  kept.delete(address)
  URL.revokeObjectURL(address)
}
