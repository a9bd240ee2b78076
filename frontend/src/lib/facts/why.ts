import { ApiError } from "$lib/api/client"
import { PasskeyError } from "$lib/api/passkeys"
import { t } from "$lib/i18n/index.svelte"
import { failureText } from "./failure"

/** Why something did not come about, in one sentence: helm's words, or the browser's in ours. */
export function whyText(error: unknown): string {
  if (error instanceof PasskeyError) return t(`door.passkey.${error.why}`)
  if (error instanceof ApiError) return failureText(error.failure)
  console.error(error)
  return t("errors.page")
}
