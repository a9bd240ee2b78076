/** Octets as texts. */
export type Bytes = Uint8Array<ArrayBuffer>

export const hex = (bytes: Uint8Array): string => Array.from(bytes, (n) => n.toString(16).padStart(2, "0")).join("")

export function fromHex(text: string): Bytes {
  if (!/^(?:[0-9a-f]{2})*$/.test(text)) throw new Error("this is not hexadecimal")
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16))
}

export function base64(bytes: Uint8Array): string {
  let text = ""
  for (const byte of bytes) text += String.fromCharCode(byte)
  return btoa(text)
}

export const base64url = (bytes: Uint8Array): string =>
  base64(bytes).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "")

export function fromBase64url(text: string): Bytes {
  const padded = text.replaceAll("-", "+").replaceAll("_", "/")
  return Uint8Array.from(atob(padded), (letter) => letter.charCodeAt(0))
}

export const utf8 = (text: string): Bytes => new TextEncoder().encode(text) as Bytes

export function joined(...parts: Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** A number in so many octets, the highest first. */
export function bigEndian(value: number, octets: 2 | 4): Bytes {
  const bytes = new Uint8Array(octets)
  const view = new DataView(bytes.buffer)
  if (octets === 2) view.setUint16(0, value)
  else view.setUint32(0, value)
  return bytes
}
