import { ApiError } from "$lib/api/client"
import { session } from "$lib/state/session.svelte"
import { toasts } from "$lib/state/toasts.svelte"
import { t } from "$lib/i18n/index.svelte"

/** helm's clock and this one may differ; and an act takes a moment to get there. */
const MARGIN = 5_000

/** Whoever is asked to show again who it is; one at a time, and all that wait are served by one proof. */
class Proofs {
  asked: { settle: (proven: boolean) => void } | null = $state.raw(null)
  #waiting: Promise<boolean> | null = null

  ask(): Promise<boolean> {
    this.#waiting ??= new Promise<boolean>((resolve) => {
      this.asked = {
        settle: (proven) => {
          this.asked = null
          this.#waiting = null
          resolve(proven)
        },
      }
    })
    return this.#waiting
  }
}

export const proofs = new Proofs()

/** Whether the last proof still counts, as far as this machine's clock can tell. */
export const isFresh = (): boolean => session.me !== null && Date.parse(session.me.fresh_until) - MARGIN > Date.now()

/**
 * Does what takes a proof of the last five minutes, and asks for one where there is none.
 *
 * Resolves with what `act` gave, or with null where the reader did not show who it is: then nothing was changed, and a
 * toast says so. Throws what `act` throws.
 */
export async function withProof<T>(act: () => Promise<T>): Promise<T | null> {
  if (!isFresh() && !(await prove())) return null
  try {
    return await act()
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 401) throw error
    // By helm's clock it was not fresh; or nobody is signed in any more.
    await session.load()
    if (!session.me) throw error
    return (await prove()) ? act() : null
  }
}

async function prove(): Promise<boolean> {
  const proven = await proofs.ask()
  if (proven) await session.load()
  else toasts.say(t("proof.stopped"))
  return proven
}
