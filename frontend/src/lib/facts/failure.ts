import type { Failure } from "$lib/api/client"
import { t } from "$lib/i18n/index.svelte"

/** One failure in words, helm's own where it gave some. */
export function failureText(failure: Failure): string {
  switch (failure.kind) {
    case "unreachable":
      return t("errors.silent")
    case "refused":
      return failure.problem ? sentence(failure.problem.detail) : t("errors.status", { status: failure.status })
    case "unreadable":
      return t("errors.unreadable")
  }
}

/** helm begins its sentences small and ends them without a stop; a name at the beginning stays as it is. */
export const sentence = (text: string): string =>
  text ? `${/^[a-z]+(?=[ ,:;]|$)(?<!^helm)/.test(text) ? text[0]!.toUpperCase() : text[0]!}${text.slice(1)}${/[.!?…]$/.test(text) ? "" : "."}` : ""
