/** `vless://` links into one node, as Xray's programs read them. */
import { base64url, fromHex } from "./bytes.ts"
import { endpointText } from "./conf.ts"
import type { ConfigurationNode, Secrets } from "./types.ts"

/** Returns the link; `spare` chooses one of the ports that may lead in after a re-issue. */
export function linkOf(node: ConfigurationNode, secrets: Secrets, spare?: number): string {
  const reality = node.reality
  const port = spare === undefined ? reality?.port : reality?.spare_ports[spare]
  const name = reality?.server_names[0]
  if (reality === null || port === undefined || name === undefined)
    throw new Error(`${node.name} is not open by REALITY`)
  const query: [string, string][] = [
    ["type", "tcp"],
    ["encryption", "none"],
    ["flow", reality.flow],
    ["security", "reality"],
    ["pbk", base64url(fromHex(reality.public_key))],
    ["fp", reality.fingerprint],
    ["sni", name],
    ["sid", reality.short_id],
    ["spx", "/"],
  ]
  const said = query.filter(([, value]) => value).map(([key, value]) => `${key}=${encodeURIComponent(value)}`)
  const place = endpointText(reality.address, port)
  return `vless://${secrets.userId}@${place}?${said.join("&")}#${encodeURIComponent(node.name)}`
}
