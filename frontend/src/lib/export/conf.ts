/** The configuration file of one tunnel, as AmneziaWG's and WireGuard's programs read it. */
import { base64, fromHex } from "./bytes.ts"
import type { Configuration, ConfigurationNode, Secrets } from "./types.ts"

/** Seconds: below what any translator of addresses forgets after. */
export const KEEPALIVE = 25
/** What `wg-quick` and its apps take for the name of a tunnel: an interface is called so. */
const MAX_NAME = 15

export interface ConfOptions {
  /** Which of the node's endpoints: the first is in use, the next may be after a re-issue. */
  endpoint?: number
  /** For a program that knows nothing but WireGuard. */
  wireguard?: boolean
}

export function confOf(
  configuration: Configuration,
  node: ConfigurationNode,
  secrets: Secrets,
  { endpoint = 0, wireguard = false }: ConfOptions = {},
): string {
  const place = node.endpoints[endpoint]
  if (node.parameters === null || place === undefined) throw new Error(`${node.name} is not open by AmneziaWG`)
  if (wireguard && !node.wireguard) throw new Error(`${node.name} does not answer plain WireGuard`)
  const own: [string, string][] = [
    ["PrivateKey", secrets.privateKey],
    ["Address", configuration.addresses.join(", ")],
    ["DNS", configuration.dns.join(", ")],
    ["MTU", String(node.mtu)],
    ...(wireguard ? [] : Object.entries(node.parameters)),
  ]
  const peer: [string, string][] = [
    ["PublicKey", base64(fromHex(node.awg_key))],
    ["PresharedKey", secrets.psk],
    ["AllowedIPs", configuration.allowed_ips.join(", ")],
    ["Endpoint", endpointText(place.host, place.port)],
    ["PersistentKeepalive", String(KEEPALIVE)],
  ]
  return `${section("Interface", own)}\n${section("Peer", peer)}`
}

export const endpointText = (host: string, port: number): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`

/** A file's name that every program takes for a tunnel, without its ending. */
export function tunnelName(node: Pick<ConfigurationNode, "name">): string {
  const plain = node.name
    .normalize("NFKD")
    .replace(/\p{M}/gu, "")
    .replace(/[^A-Za-z0-9_=+.-]+/g, "-")
    .replace(/^[-.]+|[-.]+$/g, "")
    .slice(0, MAX_NAME)
    .replace(/[-.]+$/, "")
  return plain || "pharos"
}

const section = (title: string, lines: [string, string][]): string =>
  `[${title}]\n${lines.map(([key, value]) => `${key} = ${value}\n`).join("")}`
