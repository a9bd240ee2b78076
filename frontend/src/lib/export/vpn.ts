/**
 * `vpn://` texts for Amnezia's own app: what it makes of our file when it imports it, as JSON, compressed by zlib behind
 * its length in four octets (Qt's qCompress), in base64url.
 */
import { base64, base64url, bigEndian, type Bytes, fromBase64url, fromHex, joined, utf8 } from "./bytes.ts"
import { confOf, KEEPALIVE } from "./conf.ts"
import type { Configuration, ConfigurationNode, Secrets } from "./types.ts"

const SCHEME = "vpn://"

export interface AmneziaDocument {
  containers: Record<string, unknown>[]
  defaultContainer: string
  description: string
  hostName: string
  dns1?: string
  dns2?: string
}

export function amneziaOf(configuration: Configuration, node: ConfigurationNode, secrets: Secrets): AmneziaDocument {
  const place = node.endpoints[0]
  if (node.parameters === null || place === undefined) throw new Error(`${node.name} is not open by AmneziaWG`)
  const protocol = Object.keys(node.parameters).length ? "awg" : "wireguard"
  const inner = {
    config: confOf(configuration, node, secrets),
    hostName: place.host,
    port: place.port,
    client_priv_key: secrets.privateKey,
    client_ip: configuration.addresses.join(", "),
    psk_key: secrets.psk,
    server_pub_key: base64(fromHex(node.awg_key)),
    mtu: String(node.mtu),
    persistent_keep_alive: String(KEEPALIVE),
    allowed_ips: configuration.allowed_ips,
    ...node.parameters,
  }
  const outer = {
    last_config: JSON.stringify(inner),
    isThirdPartyConfig: true,
    port: String(place.port),
    transport_proto: "udp",
  }
  // The app has room for two, both IPv4.
  const [dns1, dns2 = dns1] = configuration.dns.filter((address) => !address.includes(":"))
  const container = `amnezia-${protocol}`
  return {
    containers: [{ container, [protocol]: outer }],
    defaultContainer: container,
    description: node.name,
    hostName: place.host,
    ...(dns1 !== undefined && dns2 !== undefined ? { dns1, dns2 } : {}),
  }
}

export async function vpnText(document: AmneziaDocument): Promise<string> {
  const raw = utf8(JSON.stringify(document))
  return SCHEME + base64url(joined(bigEndian(raw.length, 4), await through(new CompressionStream("deflate"), raw)))
}

export async function readVpnText(text: string): Promise<AmneziaDocument> {
  if (!text.startsWith(SCHEME)) throw new Error(`this does not begin with ${SCHEME}`)
  const packed = fromBase64url(text.slice(SCHEME.length))
  const raw = await through(new DecompressionStream("deflate"), packed.slice(4))
  if (raw.length !== new DataView(packed.buffer).getUint32(0)) throw new Error("this has another length than it says")
  return JSON.parse(new TextDecoder().decode(raw)) as AmneziaDocument
}

async function through(stream: CompressionStream | DecompressionStream, bytes: Bytes): Promise<Bytes> {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer())
}
