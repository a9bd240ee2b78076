/** What `GET /devices/{id}/configuration` says: facts that are no secret. Keys are hexadecimal. */
export interface Configuration {
  device: string
  name: string
  fleet: string
  revision: number
  outdated_at: string | null
  keys: { derive: string; awg: string }
  addresses: string[]
  address4: string
  address6: string
  resolvers: string[]
  dns: string[]
  allowed_ips: string[]
  nodes: ConfigurationNode[]
}

export interface ConfigurationNode {
  id: string
  name: string
  generation: number
  awg_key: string
  derive_key: string
  /** The first is in use; on the others yesterday's parameters will be served after a re-issue. */
  endpoints: { host: string; port: number }[]
  /** By the keys of a file, in their order; null where the device may not use AmneziaWG here. */
  parameters: Record<string, string> | null
  /** The least version of AmneziaWG that knows all of them. */
  amneziawg: string | null
  /** Whether a program that knows nothing but WireGuard gets in. */
  wireguard: boolean
  mtu: number | null
  reality: ConfigurationReality | null
}

export interface ConfigurationReality {
  address: string
  port: number
  spare_ports: number[]
  public_key: string
  generation: number
  short_id: string
  server_names: string[]
  flow: string
  fingerprint: string
}

/** What a device has for one node; it never leaves this browser but in the files. */
export interface Secrets {
  /** AmneziaWG, base64. */
  privateKey: string
  /** Base64. */
  psk: string
  /** Of VLESS. */
  userId: string
}
