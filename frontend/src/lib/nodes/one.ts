import { getContext, setContext } from "svelte"
import type { Node, Relay } from "$lib/api/types"
import type { WholeRecord } from "./record.svelte"
import type { NodeRecord, RelayRecord } from "./types"

/** The node or relay that a page and its tabs are about. */
export interface One<M, R extends { id: string; version: number }> {
  /** As the picture has it, with links and figures; it changes all the time. */
  readonly member: M
  /** All that helm has recorded of it; null until it was read. */
  readonly whole: WholeRecord<R>
}

export type OneNode = One<Node, NodeRecord>
export type OneRelay = One<Relay, RelayRecord>

const KEY = Symbol("one")
export const giveOne = <O>(one: O): O => setContext(KEY, one)
export const takeNode = (): OneNode => getContext(KEY)
export const takeRelay = (): OneRelay => getContext(KEY)
