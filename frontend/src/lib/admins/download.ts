/** Lets the browser save octets as a file. */
export function download(name: string, type: string, octets: Uint8Array<ArrayBuffer>): void {
  const url = URL.createObjectURL(new Blob([octets], { type }))
  const link = document.createElement("a")
  link.href = url
  link.download = name
  link.click()
  // The browser has begun to read it by then.
  setTimeout(() => URL.revokeObjectURL(url), 10_000)
}
