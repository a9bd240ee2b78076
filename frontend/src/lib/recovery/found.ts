/** One unknown device, at however many nodes it is. */
export interface Found {
  /** Of the adoption that decides for all of them. */
  id: string
  version: number
  device_id: string
  nodes: string[]
  address: string | null
  key: string | null
  since: string
  state: "waiting" | "adopted" | "refused"
}

interface Adoption {
  id: string
  version: number
  created_at: string
  node_id: string
  device_id: string
  peer: Record<string, unknown>
  state: Found["state"]
}

/** A decision about one row is about the device, so a device is shown once. */
export function byDevice(rows: readonly Adoption[]): Found[] {
  const found = new Map<string, Found>()
  for (const row of rows) {
    const known = found.get(row.device_id)
    if (known) {
      known.nodes.push(row.node_id)
      continue
    }
    found.set(row.device_id, {
      id: row.id,
      version: row.version,
      device_id: row.device_id,
      nodes: [row.node_id],
      address: text(row.peer["address4"] ?? row.peer["addresses"]),
      key: text(row.peer["awg_key"]),
      since: row.created_at,
      state: row.state,
    })
  }
  return [...found.values()]
}

const text = (value: unknown): string | null =>
  typeof value === "string" ? value : Array.isArray(value) ? value.join(", ") : null
