import type { Mark } from "$lib/facts/status"
import { hasText, t, type Key } from "$lib/i18n/index.svelte"
import type { Shape } from "$lib/components/ui/StatusShape.svelte"

const SHAPES: Record<string, Shape> = {
  running: "pending",
  waiting: "warn",
  undoing: "pending",
  joined: "ok",
  failed: "bad",
  stopped: "half",
  undone: "off",
  rehearsed: "off",
}

/** How an onboarding is; a word of a newer helm is shown as it is. */
export const stateMark = (state: string): Mark => ({
  shape: SHAPES[state] ?? "off",
  word: hasText(`wizard.state.${state}`) ? t(`wizard.state.${state}` as Key) : state,
})

/** What is done in a step; one of a newer helm by its own name. */
export const stepName = (id: string): string => (hasText(`wizard.step.${id}`) ? t(`wizard.step.${id}` as Key) : id)
