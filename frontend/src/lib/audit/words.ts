import { hasText, t } from "$lib/i18n/index.svelte"

/** `user_changed` told to people; a verb from a newer helm reads as it is written. */
export function verbText(verb: string): string {
  const whole = `audit.verb.${verb}`
  if (hasText(whole)) return t(whole)
  for (let at = verb.lastIndexOf("_"); at > 0; at = verb.lastIndexOf("_", at - 1)) {
    const [noun, past] = [`audit.noun.${verb.slice(0, at)}`, `audit.past.${verb.slice(at + 1)}`]
    if (hasText(noun) && hasText(past)) return `${t(noun)} ${t(past)}`
  }
  const text = verb.replaceAll("_", " ")
  return `${text[0]?.toUpperCase() ?? ""}${text.slice(1)}`
}

const REFUSED = /refused|failed|denied|locked_out/

/** Whether an act was turned down, and is set in the colour of trouble. */
export const isRefusal = (verb: string): boolean => REFUSED.test(verb)

const PLACES: Record<string, (id: string) => string> = {
  node: (id) => `/nodes/${id}`,
  relay: (id) => `/relays/${id}`,
  device: (id) => `/devices?device=${id}`,
  user: (id) => `/users?user=${id}`,
  group: (id) => `/groups?group=${id}`,
  admin: (id) => `/admins?admin=${id}`,
}

/** Where a record is shown; null where nothing shows it. */
export const placeOf = (noun: string, subject: string): string | null => (subject && PLACES[noun]?.(subject)) || null
