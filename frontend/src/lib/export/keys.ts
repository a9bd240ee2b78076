/**
 * Keys of a device for another program, made here and nowhere else, and the secrets that its nodes derive alike
 * (docs/guide/exported.md). helm is told of the public keys.
 */
import { base64, bigEndian, type Bytes, fromBase64url, fromHex, hex, joined, utf8 } from "./bytes.ts"
import type { Configuration, ConfigurationNode, Secrets } from "./types.ts"

export interface Pair {
  secret: CryptoKey
  public: Bytes
}

/** As `POST /devices` takes them. */
export interface PublicKeys {
  sealing: string
  derive: string
  noise: string
  awg: string
}

export interface DeviceKeys {
  derive: Pair
  awg: Pair
  public: PublicKeys
}

const X25519 = { name: "X25519" }
/** Before the 32 octets of a private key (RFC 8410 §7). */
const PKCS8 = fromHex("302e020100300506032b656e04220420")

/** This browser makes no X25519 keys: they came with Chrome 133, Firefox 130 and Safari 17. */
export class NoKeysHere extends Error {}

/** Draws four pairs; of sealing and Noise nobody keeps the private half, for no other program syncs with helm. */
export async function makeKeys(): Promise<DeviceKeys> {
  const [sealing, noise, derive, awg] = await Promise.all([makePair(), makePair(), makePair(), makePair(true)])
  const all = { sealing, derive, noise, awg }
  const shown = Object.fromEntries(Object.entries(all).map(([use, pair]) => [use, hex(pair.public)]))
  return { derive, awg, public: shown as unknown as PublicKeys }
}

/** Computes what this device has for one node. Refuses a configuration of another device. */
export async function secretsOf(
  configuration: Configuration,
  node: ConfigurationNode,
  keys: Pick<DeviceKeys, "derive" | "awg">,
): Promise<Secrets> {
  if (configuration.keys.derive !== hex(keys.derive.public) || configuration.keys.awg !== hex(keys.awg.public))
    throw new Error("this configuration is another device's")
  const info = joined(
    ...[
      utf8(configuration.fleet),
      utf8(configuration.device),
      utf8(node.id),
      bigEndian(node.generation, 4),
      keys.derive.public,
      fromHex(node.derive_key),
      keys.awg.public,
      fromHex(node.awg_key),
    ].map(lengthPrefixed),
  )
  const shared = await exchange(keys.derive, fromHex(node.derive_key))
  const [psk, id, privateKey] = await Promise.all([
    expand(shared, configuration.fleet, joined(utf8("pharos/psk/v1"), info)),
    expand(shared, configuration.fleet, joined(utf8("pharos/vless/v1"), info)),
    privateBytes(keys.awg),
  ])
  return { privateKey: base64(privateKey), psk: base64(psk), userId: uuid(id.slice(0, 16)) }
}

/** Loads a pair from its private octets. */
export async function pairOf(secret: Bytes, extractable = true): Promise<Pair> {
  const pkcs8 = joined(PKCS8, secret)
  const key = await crypto.subtle.importKey("pkcs8", pkcs8, X25519, true, ["deriveBits"])
  // Only a JWK has the public half of a private key in it.
  const shown = fromBase64url((await crypto.subtle.exportKey("jwk", key)).x ?? "")
  if (extractable) return { secret: key, public: shown }
  return { secret: await crypto.subtle.importKey("pkcs8", pkcs8, X25519, false, ["deriveBits"]), public: shown }
}

async function makePair(extractable = false): Promise<Pair> {
  try {
    const pair = (await crypto.subtle.generateKey(X25519, extractable, ["deriveBits"])) as CryptoKeyPair
    return { secret: pair.privateKey, public: new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)) }
  } catch (error) {
    throw new NoKeysHere("this browser makes no X25519 keys", { cause: error })
  }
}

async function privateBytes(pair: Pair): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.exportKey("pkcs8", pair.secret)).slice(PKCS8.length)
}

/** A public key of low order is refused by the browser itself (RFC 7748 §6.1). */
async function exchange(own: Pair, other: Bytes): Promise<ArrayBuffer> {
  const key = await crypto.subtle.importKey("raw", other, X25519, true, [])
  return crypto.subtle.deriveBits({ name: "X25519", public: key }, own.secret, 256)
}

async function expand(shared: ArrayBuffer, salt: string, info: Bytes): Promise<Bytes> {
  const key = await crypto.subtle.importKey("raw", shared, "HKDF", false, ["deriveBits"])
  const how = { name: "HKDF", hash: "SHA-256", salt: utf8(salt), info }
  return new Uint8Array(await crypto.subtle.deriveBits(how, key, 256))
}

const lengthPrefixed = (field: Bytes): Bytes => joined(bigEndian(field.length, 2), field)

/** Version 4 in shape (RFC 9562 §5.4). */
function uuid(octets: Bytes): string {
  const shaped = Uint8Array.from(octets, (n, at) => (at === 6 ? (n & 0x0f) | 0x40 : at === 8 ? (n & 0x3f) | 0x80 : n))
  return hex(shaped).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-")
}
