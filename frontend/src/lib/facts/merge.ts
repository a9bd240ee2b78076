/** Two people changed one record: what each changed since the version both began with, and what comes of a choice. */

export type Side = "theirs" | "mine"
/** Who changed a field; `equal`: nobody, or both to the same. */
export type Changed = "both" | "theirs" | "mine" | "equal"
export type Values = Record<string, unknown>
export type Choices = Readonly<Record<string, Side>>

export interface Difference {
  key: string
  changed: Changed
  /** In the version that both began with. */
  was: unknown
  theirs: unknown
  mine: unknown
}

/** Compares field by field. `changes` is what I want to be different from `was`; what it leaves out I left alone. */
export function compare(keys: readonly string[], was: Values, theirs: Values, changes: Values): Difference[] {
  return keys.map((key) => {
    const mine = Object.hasOwn(changes, key) ? changes[key] : was[key]
    return { key, changed: whoChanged(was[key], theirs[key], mine), was: was[key], theirs: theirs[key], mine }
  })
}

function whoChanged(was: unknown, theirs: unknown, mine: unknown): Changed {
  if (isSame(theirs, mine)) return "equal"
  if (isSame(was, theirs)) return "mine"
  return isSame(was, mine) ? "theirs" : "both"
}

/** What one side changed alone is chosen; where both did, what is stored. Choices that were made stay. */
export function choose(differences: readonly Difference[], made: Choices = {}): Choices {
  return Object.fromEntries(
    differences
      .filter(({ changed }) => changed !== "equal")
      .map(({ key, changed }) => [key, made[key] ?? (changed === "mine" ? "mine" : "theirs")]),
  )
}

/** All of one side. */
export const chooseAll = (differences: readonly Difference[], side: Side): Choices =>
  Object.fromEntries(differences.filter(({ changed }) => changed !== "equal").map(({ key }) => [key, side]))

/** What has to be changed in the stored version so that it is what was chosen; empty: it is that already. */
export function outcome(differences: readonly Difference[], choices: Choices): Values {
  return Object.fromEntries(
    differences.filter(({ key, changed }) => changed !== "equal" && choices[key] === "mine").map(({ key, mine }) => [key, mine]),
  )
}

/** Whether two JSON values are the same, whatever the order of members. */
export function isSame(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true
  // What a record does not have is none.
  if ((a ?? null) === null || (b ?? null) === null) return (a ?? null) === (b ?? null)
  if (typeof a !== "object" || typeof b !== "object" || Array.isArray(a) !== Array.isArray(b)) return false
  const [x, y] = [a as Values, b as Values]
  const keys = new Set([...Object.keys(x), ...Object.keys(y)])
  return [...keys].every((key) => isSame(x[key], y[key]))
}

export interface Piece {
  text: string
  how: "same" | "ins" | "del"
}

/** Longer texts are compared as a whole: the table below grows with the square. */
const MOST_WORDS = 400

/** A value with what is new in it since `was`, and what is gone; where nothing of it stayed, it is all new. */
export function pieces(was: string, now: string): Piece[] {
  const [before, after] = [words(was), words(now)]
  if (was === now) return now ? [{ text: now, how: "same" }] : []
  if (before.length > MOST_WORDS || after.length > MOST_WORDS) return [{ text: now, how: "ins" }]
  const found = walk(before, after)
  // Blanks and commas alone are nothing that stayed.
  if (!found.some(({ how, text }) => how === "same" && /[\p{L}\p{N}]/u.test(text))) return now ? [{ text: now, how: "ins" }] : []
  return joined(found)
}

const words = (text: string): string[] => text.match(/\s+|[,;]|[^\s,;]+/g) ?? []

/** The longest common run of words, walked from the front. */
function walk(before: readonly string[], after: readonly string[]): Piece[] {
  const common = Array.from({ length: before.length + 1 }, () => new Uint16Array(after.length + 1))
  for (let i = before.length - 1; i >= 0; i--)
    for (let j = after.length - 1; j >= 0; j--)
      common[i]![j] =
        before[i] === after[j] ? common[i + 1]![j + 1]! + 1 : Math.max(common[i + 1]![j]!, common[i]![j + 1]!)
  const found: Piece[] = []
  let [i, j] = [0, 0]
  while (i < before.length || j < after.length) {
    if (i < before.length && j < after.length && before[i] === after[j]) {
      found.push({ text: after[j]!, how: "same" })
      i += 1
      j += 1
    } else if (i < before.length && (j === after.length || common[i + 1]![j]! >= common[i]![j + 1]!)) {
      found.push({ text: before[i++]!, how: "del" })
    } else found.push({ text: after[j++]!, how: "ins" })
  }
  return found
}

function joined(found: readonly Piece[]): Piece[] {
  const all: Piece[] = []
  for (const piece of found) {
    const last = all.at(-1)
    if (last?.how === piece.how) last.text += piece.text
    else all.push({ ...piece })
  }
  return all
}
