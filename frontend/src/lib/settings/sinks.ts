import type { Recorded } from "$lib/api/types"

export type SinkKind = "webhook" | "syslog" | "otlp"
export type Source = "audit" | "events"
export const KINDS: readonly SinkKind[] = ["webhook", "syslog", "otlp"]
export const SOURCES: readonly Source[] = ["audit", "events"]
/** What an address of each looks like. */
export const EXAMPLES: Record<SinkKind, string> = {
  webhook: "https://siem.example.org/pharos",
  syslog: "tls://logs.example.org:6514",
  otlp: "https://otel.example.org:4318",
}

export interface Sink extends Recorded {
  name: string
  kind: SinkKind
  host: string
  sources: Source[]
  header_names: string[]
  own_ca: boolean
  state: "enabled" | "disabled" | (string & {})
  /** Where one sink is read alone: a path may be a secret. */
  url?: string
}

export interface SinkHealth {
  id: string
  /** Rows that were not acknowledged yet, by source. */
  behind: Record<string, number>
  sent_at: string | null
  failing_since_at: string | null
  error: string
}

/** `Name: value` a line, as HTTP writes headers; null: a line is none. */
export function parseHeaders(text: string): Record<string, string> | null {
  const headers: Record<string, string> = {}
  for (const line of text.split("\n").map((one) => one.trim())) {
    if (!line) continue
    const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):\s*(.+)$/.exec(line) ?? []
    if (!name || !value) return null
    headers[name] = value
  }
  return headers
}
