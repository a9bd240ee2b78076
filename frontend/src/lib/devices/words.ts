import WORDS from "./wordlist"

/** A passphrase of so many words, drawn by the browser: 8 bits each. */
export function drawWords(count: number): string {
  return [...crypto.getRandomValues(new Uint8Array(count))].map((octet) => WORDS[octet]).join("-")
}
