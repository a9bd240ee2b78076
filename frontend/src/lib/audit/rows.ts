import { api, type Query } from "$lib/api/client"
import type { Chunk } from "$lib/state/cursorrows.svelte"

export interface AuditRow {
  sequence: number
  at: string
  actor: string
  via: string
  verb: string
  noun: string
  subject: string
  version: number
  detail: string
  hash: string
}

export interface Verification {
  ok: boolean
  rows: number
  head: { sequence: number; hash: string }
  checkpoint: { size: number; head: string; at: string; signed: string } | null
  detail: string
}

/** A row of the table: an act, or the mark of a checkpoint between acts. */
export type ChainRow = ({ id: string; mark: false } & AuditRow) | { id: string; mark: true; sequence: number; at: string }

interface AuditPage {
  items: AuditRow[]
  cursor: string | null
  checkpoints: { sequence: number; at: string }[]
}

/** One page of the audit with its checkpoints in their places: above the row that they cover last. */
export async function readChain(query: Query, signal: AbortSignal): Promise<Chunk<ChainRow>> {
  const page = await api.get<AuditPage>("/audit", { query, signal })
  return { items: weave(page.items, page.checkpoints), cursor: page.cursor }
}

export function weave(items: readonly AuditRow[], marks: readonly { sequence: number; at: string }[]): ChainRow[] {
  const left = marks.toSorted((a, b) => b.sequence - a.sequence)
  const woven: ChainRow[] = []
  for (const row of items) {
    while (left[0] && left[0].sequence >= row.sequence) {
      const mark = left.shift()!
      // Of several on one row the newest says all.
      if (woven.at(-1)?.id !== `mark ${mark.sequence}`) woven.push({ id: `mark ${mark.sequence}`, mark: true, ...mark })
    }
    woven.push({ id: String(row.sequence), mark: false, ...row })
  }
  return woven
}

/** How far a row is proven: by the chain, by nothing any more since something before it broke, or it is the break. */
export type Proof = "holds" | "broken" | "unproven"

export function proofOf(sequence: number, found: Verification | null): Proof {
  if (!found || found.ok || sequence <= found.head.sequence) return "holds"
  return sequence === found.head.sequence + 1 ? "broken" : "unproven"
}

/** What of a record an act changed; nested values as JSON. */
export function changesOf(
  before: Record<string, unknown> | null,
  after: Record<string, unknown> | null,
): { field: string; was: string | null; is: string | null }[] {
  const quiet = new Set(["version", "updated_at", "updated_by", "created_at"])
  const fields = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])].filter((field) => !quiet.has(field))
  const text = (value: unknown) =>
    value === undefined || value === null || value === "" ? null : typeof value === "string" ? value : JSON.stringify(value)
  return fields
    .map((field) => ({ field, was: text(before?.[field]), is: text(after?.[field]) }))
    .filter((change) => change.was !== change.is)
}
