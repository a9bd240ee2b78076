import type { Failure } from "$lib/api/client"
import { words } from "$lib/words"

export function failureWords(failure: Failure): string {
  switch (failure.kind) {
    case "unreachable":
      return words.picture.silent
    case "refused":
      return words.picture.error(failure.status)
    case "unreadable":
      return words.picture.unreadable
  }
}
