import WORDS from "$lib/devices/wordlist"

const COUNT = 4

/** Words that stand for a fleet's id, which is made of its root: easier to compare than hexadecimal. */
export function fleetWords(id: string): string[] {
  const octets = (id.match(/[0-9a-f]{2}/g) ?? []).slice(0, COUNT)
  return octets.map((octet) => WORDS[parseInt(octet, 16)] ?? octet)
}
