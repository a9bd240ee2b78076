import { tick } from "svelte"

/** Svelte attachment for a form that takes the place of what it changes: it gets the focus, and its drawer gets it back. */
export function takesFocus(form: HTMLElement): () => void {
  const drawer = form.closest<HTMLElement>(".drawer")
  void tick().then(() => form.querySelector<HTMLElement>("input, select, textarea")?.focus({ preventScroll: true }))
  return () => {
    if (form.contains(document.activeElement) || document.activeElement === document.body) drawer?.focus({ preventScroll: true })
  }
}
