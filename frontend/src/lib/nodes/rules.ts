/** What changed between two rule sets, line by line. */
export interface Line {
  text: string
  kind: "same" | "added" | "removed"
}

/** The shortest edit from one text to another, in lines; what left stands before what came. */
export function compareLines(before: string, after: string): Line[] {
  const [old, now] = [before.trimEnd().split("\n"), after.trimEnd().split("\n")]
  const longest = lengths(old, now)
  const lines: Line[] = []
  let [a, b] = [0, 0]
  while (a < old.length || b < now.length) {
    if (a < old.length && b < now.length && old[a] === now[b]) {
      lines.push({ text: old[a]!, kind: "same" })
      a += 1
      b += 1
    } else if (b >= now.length || (a < old.length && longest[a + 1]![b]! >= longest[a]![b + 1]!)) {
      lines.push({ text: old[a]!, kind: "removed" })
      a += 1
    } else {
      lines.push({ text: now[b]!, kind: "added" })
      b += 1
    }
  }
  return lines
}

/** How long the longest common part is from each pair of lines on. */
function lengths(old: readonly string[], now: readonly string[]): number[][] {
  const table = Array.from({ length: old.length + 1 }, () => new Array<number>(now.length + 1).fill(0))
  for (let a = old.length - 1; a >= 0; a -= 1)
    for (let b = now.length - 1; b >= 0; b -= 1)
      table[a]![b] = old[a] === now[b] ? 1 + table[a + 1]![b + 1]! : Math.max(table[a + 1]![b]!, table[a]![b + 1]!)
  return table
}
