/** How high a chart is: four lines at round numbers; it grows at once and shrinks only after a while (ui.md §5.7). */
const NICE = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10] as const
const SPACES = 3
const SHRINK_AFTER = 10_000
/** bit/s; below this nothing is worth a closer look. */
const LEAST = 1_000

export interface Scale {
  /** Between two lines. */
  step: number
  /** Spaces above zero and below it; together three. */
  above: number
  below: number
}

function nice(value: number): number {
  if (value <= LEAST) return LEAST
  const power = 10 ** Math.floor(Math.log10(value))
  return (NICE.find((step) => step * power >= value) ?? 10) * power
}

/** The smallest scale with `high` above zero and `low`, a size, below it. */
export function scaleOf(high: number, low = 0): Scale {
  const splits = low > 0 ? [1, 2] : [0]
  const found = splits.map((below) => ({
    step: nice(Math.max(high / (SPACES - below), below ? low / below : 0)),
    above: SPACES - below,
    below,
  }))
  return found.reduce((best, one) => (one.step < best.step ? one : best))
}

export const linesOf = ({ step, above, below }: Scale): number[] =>
  Array.from({ length: above + below + 1 }, (_, at) => (at - below) * step)

/** Keeps the scale calm while values come in. */
export class Ceiling {
  #scale: Scale | null = null
  #smallerSince: number | null = null

  /** The scale for what is drawn now. */
  fit(high: number, low: number, now: number): Scale {
    const wanted = scaleOf(high, low)
    const held = this.#scale
    if (!held || high > held.above * held.step || low > held.below * held.step) return this.#take(wanted)
    if (wanted.step >= held.step) {
      this.#smallerSince = null
      return held
    }
    this.#smallerSince ??= now
    return now - this.#smallerSince >= SHRINK_AFTER ? this.#take(wanted) : held
  }

  /** Milliseconds until a smaller scale is taken; null: none waits. */
  wait(now: number): number | null {
    return this.#smallerSince === null ? null : Math.max(0, this.#smallerSince + SHRINK_AFTER - now)
  }

  /** The reader looks at something else: the next scale is taken as it is. */
  reset(): void {
    this.#scale = null
    this.#smallerSince = null
  }

  #take(scale: Scale): Scale {
    this.#smallerSince = null
    return (this.#scale = scale)
  }
}
