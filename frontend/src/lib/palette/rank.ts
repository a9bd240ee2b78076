import { computeCommandScore } from "bits-ui"

/** Best first; nothing typed keeps the order, what does not fit is left out. */
export function rank<T>(items: readonly T[], typed: string, text: (item: T) => string, more: (item: T) => string = () => ""): T[] {
  const search = typed.trim()
  if (!search) return [...items]
  const scored = items.map((item) => [item, computeCommandScore(text(item), search, [more(item)].filter(Boolean))] as const)
  return scored
    .filter(([, score]) => score > 0)
    .sort((a, b) => b[1] - a[1])
    .map(([item]) => item)
}

/** The text in pieces: those that were typed are marked, word by word, else letter by letter in order. */
export function marked(text: string, typed: string): { text: string; hit: boolean }[] {
  const hits = new Set<number>()
  const low = text.toLowerCase()
  for (const word of typed.toLowerCase().split(/\s+/).filter(Boolean)) {
    const at = low.indexOf(word)
    if (at >= 0) for (let i = at; i < at + word.length; i++) hits.add(i)
    else scattered(low, word).forEach((i) => hits.add(i))
  }
  const pieces: { text: string; hit: boolean }[] = []
  for (let i = 0; i < text.length; i++) {
    const last = pieces.at(-1)
    if (last && last.hit === hits.has(i)) last.text += text[i]
    else pieces.push({ text: text[i]!, hit: hits.has(i) })
  }
  return pieces
}

function scattered(text: string, letters: string): number[] {
  const found: number[] = []
  let at = -1
  for (const letter of letters) {
    at = text.indexOf(letter, at + 1)
    if (at < 0) return []
    found.push(at)
  }
  return found
}
