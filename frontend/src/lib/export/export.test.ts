import { describe, expect, it } from "vitest"
import { base64, bigEndian, fromHex, hex } from "./bytes.ts"
import { confOf, tunnelName } from "./conf.ts"
import { type DeviceKeys, makeKeys, pairOf, secretsOf } from "./keys.ts"
import type { Configuration, ConfigurationNode, Secrets } from "./types.ts"
import vectors from "./vectors.json"
import { linkOf } from "./vless.ts"
import { type AmneziaDocument, amneziaOf, readVpnText, vpnText } from "./vpn.ts"

interface Told {
  keys: Pick<DeviceKeys, "derive" | "awg">
  configuration: Configuration
  node: ConfigurationNode
  secrets: Secrets
  wanted: (typeof vectors.cases)[number]["nodes"][number]
}

/** Every node of every device in the vectors. */
async function told(): Promise<Told[]> {
  const found: Told[] = []
  for (const each of vectors.cases) {
    const configuration = each.configuration as unknown as Configuration
    const keys = {
      derive: await pairOf(fromHex(each.private.derive), false),
      awg: await pairOf(fromHex(each.private.awg)),
    }
    for (const wanted of each.nodes) {
      const node = configuration.nodes.find((one) => one.id === wanted.id)
      if (node === undefined) throw new Error(wanted.id)
      found.push({ keys, configuration, node, secrets: await secretsOf(configuration, node, keys), wanted })
    }
  }
  return found
}

describe("keys", () => {
  it("has the public keys of the vectors' private ones", async () => {
    for (const each of vectors.cases) {
      expect(hex((await pairOf(fromHex(each.private.derive))).public)).toBe(each.public.derive)
      expect(hex((await pairOf(fromHex(each.private.awg))).public)).toBe(each.public.awg)
    }
  })

  it("derives what nodes derive", async () => {
    const all = await told()
    expect(all).toHaveLength(10)
    for (const { secrets, wanted, keys } of all) {
      expect(secrets.psk).toBe(wanted.psk)
      expect(secrets.userId).toBe(wanted.user_id)
      expect(secrets.privateKey).toHaveLength(44)
      expect(keys.derive.secret.extractable).toBe(false)
    }
  })

  it("draws four different pairs, and keeps what files need", async () => {
    const keys = await makeKeys()
    expect(Object.keys(keys)).toEqual(["derive", "awg", "public"])
    expect(Object.keys(keys.public)).toEqual(["sealing", "derive", "noise", "awg"])
    expect(new Set(Object.values(keys.public)).size).toBe(4)
    for (const key of Object.values(keys.public)) expect(key).toMatch(/^[0-9a-f]{64}$/)
    expect(keys.public.awg).toBe(hex(keys.awg.public))
    expect(keys.public.derive).toBe(hex(keys.derive.public))
    expect([keys.derive.secret.extractable, keys.awg.secret.extractable]).toEqual([false, true])
    expect((await makeKeys()).public).not.toEqual(keys.public)
  })

  it("gives a new pair's own private key to the file", async () => {
    const keys = await makeKeys()
    const [first] = await told()
    const configuration = { ...first!.configuration, keys: { derive: keys.public.derive, awg: keys.public.awg } }
    const { privateKey } = await secretsOf(configuration, first!.node, keys)
    const again = await pairOf(Uint8Array.from(atob(privateKey), (letter) => letter.charCodeAt(0)))
    expect(hex(again.public)).toBe(keys.public.awg)
  })

  it("refuses the configuration of another device, and a node key of low order", async () => {
    const [first] = await told()
    await expect(secretsOf(first!.configuration, first!.node, await makeKeys())).rejects.toThrow("another device")
    const weak = { ...first!.node, derive_key: "00".repeat(32) }
    await expect(secretsOf(first!.configuration, weak, first!.keys)).rejects.toThrow()
  })
})

describe("files", () => {
  it("writes the file that pharos.wire writes, for each endpoint", async () => {
    for (const { configuration, node, secrets, wanted } of await told())
      expect(wanted.confs.map((_, endpoint) => confOf(configuration, node, secrets, { endpoint }))).toEqual(wanted.confs)
  })

  it("writes one for WireGuard where the node answers that, and refuses elsewhere", async () => {
    let written = 0
    for (const { configuration, node, secrets, wanted } of await told()) {
      const write = () => confOf(configuration, node, secrets, { wireguard: true })
      if (wanted.wireguard === null) expect(write).toThrow("plain WireGuard")
      else {
        expect(write()).toBe(wanted.wireguard)
        expect(write()).not.toMatch(/^J|^H\d|^S\d/m)
        written += 1
      }
    }
    expect(written).toBe(2)
  })

  it("refuses what the node does not offer", async () => {
    const [first] = await told()
    const { configuration, node, secrets } = first!
    expect(() => confOf(configuration, node, secrets, { endpoint: 9 })).toThrow("not open by AmneziaWG")
    expect(() => confOf(configuration, { ...node, parameters: null }, secrets)).toThrow("not open by AmneziaWG")
    expect(() => amneziaOf(configuration, { ...node, parameters: null }, secrets)).toThrow("not open by AmneziaWG")
    expect(() => linkOf({ ...node, reality: null }, secrets)).toThrow("not open by REALITY")
    expect(() => linkOf(node, secrets, 9)).toThrow("not open by REALITY")
  })

  it.each([
    ["amsterdam", "amsterdam"],
    ["Zürich & ö", "Zurich-o"],
    ["a very long name of a node", "a-very-long-nam"],
    ["Москва", "pharos"],
    ["../../etc", "etc"],
  ])("calls the tunnel to %s %s", (name, wanted) => expect(tunnelName({ name })).toBe(wanted))
})

describe("links", () => {
  it("writes the link that pharos.wire writes", async () => {
    for (const { node, secrets, wanted } of await told())
      if (wanted.link === null) expect(node.reality).toBeNull()
      else expect(linkOf(node, secrets)).toBe(wanted.link)
  })

  it("leads to a spare port if asked", async () => {
    const [first] = await told()
    expect(linkOf(first!.node, first!.secrets, 0)).toContain("@203.0.113.7:2053?")
  })
})

describe("Amnezia", () => {
  it("says what the app makes of the file", async () => {
    for (const { configuration, node, secrets, wanted } of await told())
      expect(plain(amneziaOf(configuration, node, secrets))).toEqual(plain(wanted.amnezia as AmneziaDocument))
  })

  it("reads the texts of qCompress, and writes them", async () => {
    for (const { wanted } of await told()) {
      expect(await readVpnText(wanted.vpn)).toEqual(wanted.amnezia)
      const written = await vpnText(wanted.amnezia as AmneziaDocument)
      expect(written).toMatch(/^vpn:\/\/[A-Za-z0-9_-]+$/)
      expect(await readVpnText(written)).toEqual(wanted.amnezia)
    }
  })

  it("puts the length of the JSON before it", async () => {
    const [first] = await told()
    const text = await vpnText(first!.wanted.amnezia as AmneziaDocument)
    const length = new TextEncoder().encode(JSON.stringify(first!.wanted.amnezia)).length
    expect(text.slice(6, 11)).toBe(base64(bigEndian(length, 4)).slice(0, 5))
    await expect(readVpnText("vless://")).rejects.toThrow("does not begin")
  })
})

/** With the JSON inside read. */
function plain(document: AmneziaDocument): unknown {
  return JSON.parse(JSON.stringify(document), (key, value: unknown) =>
    key === "last_config" ? (JSON.parse(value as string) as unknown) : value,
  )
}
