import type { Status } from "./types"

/** helm listens on this machine: an answer that takes longer than this will not come. */
const TIMEOUT = 5_000

export type Failure =
  /** Nothing listens, or it went silent. */
  | { kind: "unreachable" }
  /** helm answered with an HTTP status that is an error. */
  | { kind: "refused"; status: number }
  /** Something answered, but it was not helm's JSON. */
  | { kind: "unreadable" }

export class ApiError extends Error {
  readonly failure: Failure

  constructor(failure: Failure, cause?: unknown) {
    super(failure.kind, { cause })
    this.name = "ApiError"
    this.failure = failure
  }
}

/** Throws ApiError; or what `signal` was aborted with. */
export async function getStatus(signal: AbortSignal): Promise<Status> {
  const body = await get("/api/v1/status", signal)
  if (!isStatus(body)) throw new ApiError({ kind: "unreadable" })
  return body
}

/** How somebody comes in: by a one-time link, or by name, password and code. */
export type Proof = { link: string } | { name: string; password: string; code: string }

/** Throws ApiError: `refused` with 401 for a proof that does not hold, 429 for too many tries. */
export async function signIn(proof: Proof, signal: AbortSignal): Promise<void> {
  await ask("/api/v1/session", signal, { method: "POST", body: JSON.stringify(proof) })
}

function get(path: string, signal: AbortSignal): Promise<unknown> {
  return ask(path, signal, {})
}

/** The only place that calls fetch. */
async function ask(path: string, signal: AbortSignal, request: { method?: string; body?: string }): Promise<unknown> {
  let response: Response
  let text: string
  try {
    response = await fetch(path, {
      ...request,
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT)]),
      headers: { accept: "application/json", ...(request.body ? { "content-type": "application/json" } : {}) },
      cache: "no-store",
      credentials: "same-origin",
      redirect: "error",
    })
    text = await response.text()
  } catch (error) {
    signal.throwIfAborted()
    throw new ApiError({ kind: "unreachable" }, error)
  }
  if (!response.ok) throw new ApiError({ kind: "refused", status: response.status })
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new ApiError({ kind: "unreadable" }, error)
  }
}

const LISTS = ["nodes", "relays", "devices", "events"] as const

/** Page and helm come from one package, so only what a stranger on the port would get wrong is checked. */
function isStatus(body: unknown): body is Status {
  if (typeof body !== "object" || body === null || !("fleet" in body)) return false
  return LISTS.every((list) => Array.isArray((body as Record<string, unknown>)[list]))
}
