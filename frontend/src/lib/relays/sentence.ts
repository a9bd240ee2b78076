import type { Relay } from "$lib/api/types"
import { inService, isDown } from "$lib/facts/status"
import { list } from "$lib/format"
import { t } from "$lib/i18n/index.svelte"

const NAMED = 3

/** Which relays carry clients now, and which cannot. */
export function relaysSentence(relays: readonly Relay[]): { title: string; detail: string } {
  const serving = relays.filter(inService)
  const carrying = serving.filter((relay) => relay.passages > 0)
  const down = serving.filter(isDown)
  const names = carrying.length <= NAMED ? list(carrying.map((relay) => relay.name)) : ""
  const passages = carrying.reduce((sum, relay) => sum + relay.passages, 0)
  return {
    title: carrying.length
      ? t("relays.carry", { n: carrying.length, names })
      : down.length === serving.length && serving.length
        ? t("relays.noneUp")
        : t("relays.noneCarry"),
    detail: down.length
      ? t("relays.downDetail", { n: down.length, names: down.length <= NAMED ? list(down.map((relay) => relay.name)) : "" })
      : t("relays.passagesDetail", { n: passages }),
  }
}
