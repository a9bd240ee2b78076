import { api } from "./client"
import type { Me } from "./types"

/** What the browser, not helm, had against it; the reader may have closed its window. */
export class PasskeyError extends Error {
  readonly why: "stopped" | "known" | "unable"

  constructor(cause: unknown) {
    super("the browser gave no passkey", { cause })
    this.name = "PasskeyError"
    const name = cause instanceof DOMException ? cause.name : ""
    this.why = name === "InvalidStateError" ? "known" : name === "NotAllowedError" || name === "AbortError" ? "stopped" : "unable"
  }
}

/** Passkeys belong to a name, and to browsers that read helm's own JSON (WebAuthn Level 3). */
export const canPasskey = (): boolean =>
  typeof PublicKeyCredential !== "undefined" &&
  "parseRequestOptionsFromJSON" in PublicKeyCredential &&
  !/^[\d.]+$|:|^\[/.test(location.hostname)

async function sign(asked: PublicKeyCredentialRequestOptionsJSON, signal?: AbortSignal): Promise<object> {
  try {
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(asked)
    const credential = await navigator.credentials.get({ publicKey, ...(signal ? { signal } : {}) })
    return (credential as PublicKeyCredential).toJSON() as object
  } catch (error) {
    throw new PasskeyError(error)
  }
}

/** Throws ApiError, PasskeyError. */
export async function signInByPasskey(name = "", signal?: AbortSignal): Promise<Me> {
  const asked = await api.post<PublicKeyCredentialRequestOptionsJSON>("/session/passkeys/sign-in/options", { name })
  return api.post<Me>("/session/passkeys/sign-in", { credential: await sign(asked, signal) })
}

/** A fresh proof, good for five minutes. Throws ApiError, PasskeyError. */
export async function proveByPasskey(signal?: AbortSignal): Promise<void> {
  const asked = await api.post<PublicKeyCredentialRequestOptionsJSON>("/session/passkeys/prove/options")
  await api.post("/session/passkeys/prove", { credential: await sign(asked, signal) })
}

/** Makes one in the browser; what comes back is for helm to keep. Wants a fresh proof. Throws ApiError, PasskeyError. */
export async function makePasskey(): Promise<object> {
  const asked = await api.post<PublicKeyCredentialCreationOptionsJSON>("/session/passkeys/options")
  try {
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(asked)
    return ((await navigator.credentials.create({ publicKey })) as PublicKeyCredential).toJSON() as object
  } catch (error) {
    throw new PasskeyError(error)
  }
}
