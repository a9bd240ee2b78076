import type { Problem } from "./types"

/** helm listens on this machine, or behind a passage: an answer that takes longer than this will not come. */
const TIMEOUT = 20_000

export type Failure =
  /** Nothing listens, or it went silent. */
  | { kind: "unreachable" }
  /** helm answered with an HTTP status that is an error; `problem` is its own word (RFC 9457). */
  | { kind: "refused"; status: number; problem: Problem | null }
  /** Something answered, but it was not helm's JSON. */
  | { kind: "unreadable" }

export class ApiError extends Error {
  readonly failure: Failure

  constructor(failure: Failure, cause?: unknown) {
    super(failure.kind === "refused" ? (failure.problem?.detail ?? `HTTP ${failure.status}`) : failure.kind, { cause })
    this.name = "ApiError"
    this.failure = failure
  }

  /** The HTTP status, 0 where there was none. */
  get status(): number {
    return this.failure.kind === "refused" ? this.failure.status : 0
  }

  /** With a 409 for a stale version: the record as it is now. */
  get current(): Record<string, unknown> | null {
    return this.failure.kind === "refused" ? (this.failure.problem?.current ?? null) : null
  }
}

export type Query = Record<string, string | number | boolean | null | undefined | readonly string[]>

export interface Ask {
  query?: Query
  body?: unknown
  /** The version that was seen: `If-Match`. */
  version?: number
  /** Repeating a request with the same key does nothing twice. */
  once?: string
  signal?: AbortSignal
  /** Milliseconds. */
  timeout?: number
}

/** What every change has to show, as `GET /api/v1/session` gave it. */
let csrf = ""
export const setCsrf = (token: string): void => void (csrf = token)
export const csrfToken = (): string => csrf

let onSignedOut: () => void = () => {}
/** Called when helm says that nobody is signed in any more. */
export const whenSignedOut = (tell: () => void): void => void (onSignedOut = tell)

/** `path` below /api/v1, with a leading slash. All throw ApiError, or what `signal` was aborted with. */
export const api = {
  get: <T>(path: string, ask: Ask = {}): Promise<T> => send<T>("GET", path, ask),
  post: <T>(path: string, body?: unknown, ask: Ask = {}): Promise<T> => send<T>("POST", path, { body: body ?? {}, ...ask }),
  put: <T>(path: string, body?: unknown, ask: Ask = {}): Promise<T> => send<T>("PUT", path, { body: body ?? {}, ...ask }),
  patch: <T>(path: string, body: unknown, version: number, ask: Ask = {}): Promise<T> =>
    send<T>("PATCH", path, { body, version, ...ask }),
  del: <T>(path: string, ask: Ask = {}): Promise<T> => send<T>("DELETE", path, ask),
  /** `POST` without a body, for acts. */
  act: <T>(path: string, version?: number, ask: Ask = {}): Promise<T> =>
    send<T>("POST", path, version === undefined ? ask : { version, ...ask }),
  /** The lines of a stream of JSON lines, as they come; it ends with the stream. */
  lines: streamLines,
}

/** A key for one intention of a person: pressing twice does it once. */
export const newKey = (): string => crypto.randomUUID()

export function address(path: string, query: Query = {}): string {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === "") continue
    search.set(name, Array.isArray(value) ? value.join(",") : String(value))
  }
  const text = search.toString()
  return `/api/v1${path}${text ? `?${text}` : ""}`
}

function headersOf(method: string, ask: Ask): Record<string, string> {
  const headers: Record<string, string> = { accept: "application/json" }
  if (ask.body !== undefined) headers["content-type"] = "application/json"
  if (ask.version !== undefined) headers["if-match"] = `"${ask.version}"`
  if (ask.once) headers["idempotency-key"] = ask.once
  if (method !== "GET" && csrf) headers["x-pharos-csrf"] = csrf
  return headers
}

function begin(method: string, path: string, ask: Ask, signals: AbortSignal[]): Promise<Response> {
  return fetch(address(path, ask.query), {
    method,
    ...(ask.body === undefined ? {} : { body: JSON.stringify(ask.body) }),
    headers: headersOf(method, ask),
    signal: AbortSignal.any([...signals, ...(ask.signal ? [ask.signal] : [])]),
    cache: "no-store",
    credentials: "same-origin",
    redirect: "error",
  })
}

async function send<T>(method: string, path: string, ask: Ask): Promise<T> {
  let response: Response
  let text: string
  try {
    response = await begin(method, path, ask, [AbortSignal.timeout(ask.timeout ?? TIMEOUT)])
    text = await response.text()
  } catch (error) {
    ask.signal?.throwIfAborted()
    throw new ApiError({ kind: "unreachable" }, error)
  }
  if (!response.ok) throw refused(response.status, text, path)
  if (response.status === 204 || (text === "" && method !== "GET")) return undefined as T
  try {
    return JSON.parse(text) as T
  } catch (error) {
    throw new ApiError({ kind: "unreadable" }, error)
  }
}

async function* streamLines<T>(path: string, ask: Ask = {}): AsyncGenerator<T> {
  let left = ""
  try {
    const response = await begin("GET", path, ask, [])
    if (!response.ok) throw refused(response.status, await response.text(), path)
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
    for (;;) {
      const { value, done } = await reader.read()
      if (done) return
      const lines = (left + value).split("\n")
      left = lines.pop() ?? ""
      for (const line of lines) if (line) yield JSON.parse(line) as T
    }
  } catch (error) {
    ask.signal?.throwIfAborted()
    if (error instanceof ApiError) throw error
    throw new ApiError({ kind: error instanceof SyntaxError ? "unreadable" : "unreachable" }, error)
  }
}

function refused(status: number, text: string, path: string): ApiError {
  let problem: Problem | null = null
  try {
    const found = JSON.parse(text) as Partial<Problem> | null
    if (found && typeof found.detail === "string") problem = found as Problem
  } catch {
    // A stranger's page.
  }
  // A proof that does not hold is also 401; only where the session itself is asked for does it mean the door.
  if (status === 401 && !path.startsWith("/session") && !path.startsWith("/passkeys")) onSignedOut()
  return new ApiError({ kind: "refused", status, problem })
}
