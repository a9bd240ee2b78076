import { api } from "$lib/api/client"
import { confOf, tunnelName } from "$lib/export/conf"
import { makeKeys, secretsOf, type DeviceKeys } from "$lib/export/keys"
import type { Configuration, ConfigurationNode } from "$lib/export/types"
import { linkOf } from "$lib/export/vless"
import { amneziaOf, vpnText } from "$lib/export/vpn"

export type Format = "awg" | "wireguard" | "amnezia" | "vless"

export interface Handed {
  format: Format
  /** What is scanned, copied or saved. */
  text: string
  /** Of the file; links have none. */
  file: string | null
}

/** By which programs a node can be reached, the best first. */
export function formatsOf(node: ConfigurationNode): Format[] {
  const awg = node.parameters !== null && node.endpoints.length > 0
  return [
    ...(awg ? (["awg", "amnezia"] as const) : []),
    ...(node.reality && node.reality.server_names.length ? (["vless"] as const) : []),
    ...(awg && node.wireguard ? (["wireguard"] as const) : []),
  ]
}

export interface ExportWish {
  name: string
  user: { id: string; name: string } | null
  note: string
}

/**
 * A device whose keys this browser makes: their private halves stay here, and only for as long as the card is open.
 * helm is told of the public ones.
 */
export class Handover {
  readonly wish: ExportWish
  readonly device: string
  readonly configuration: Configuration
  /** Null once it is forgotten. */
  #keys: DeviceKeys | null

  private constructor(wish: ExportWish, device: string, configuration: Configuration, keys: DeviceKeys) {
    this.wish = wish
    this.device = device
    this.configuration = configuration
    this.#keys = keys
  }

  /** `told`: keys are made, helm knows the device. Throws ApiError, NoKeysHere. */
  static async make(wish: ExportWish, told: (step: "keys" | "told") => void): Promise<Handover> {
    const keys = await makeKeys()
    told("keys")
    const body = { name: wish.name, user_id: wish.user?.id ?? null, note: wish.note, keys: keys.public }
    const { id } = await api.post<{ id: string }>("/devices", body)
    told("told")
    const configuration = await api.get<Configuration>(`/devices/${encodeURIComponent(id)}/configuration`)
    return new Handover(wish, id, configuration, keys)
  }

  get forgotten(): boolean {
    return this.#keys === null
  }

  forget(): void {
    this.#keys = null
  }

  /** Makes what one program reads. */
  async hand(node: ConfigurationNode, format: Format): Promise<Handed | null> {
    if (!this.#keys) return null
    const secrets = await secretsOf(this.configuration, node, this.#keys)
    const name = tunnelName(node)
    switch (format) {
      case "awg":
        return { format, text: confOf(this.configuration, node, secrets), file: `${name}.conf` }
      case "wireguard":
        return { format, text: confOf(this.configuration, node, secrets, { wireguard: true }), file: `${name}.conf` }
      case "amnezia":
        return { format, text: await vpnText(amneziaOf(this.configuration, node, secrets)), file: `${name}.vpn` }
      case "vless":
        return { format, text: linkOf(node, secrets), file: null }
    }
  }
}
