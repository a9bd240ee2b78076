import { api, ApiError, setCsrf, whenSignedOut } from "$lib/api/client"
import type { Me, Role } from "$lib/api/types"

const RANK: Record<Role, number> = { viewer: 0, operator: 1, admin: 2, owner: 3 }

/** Who looks at this page. */
class SessionState {
  me: Me | null = $state.raw(null)
  /** Whether helm has said who it is, or that it is nobody. */
  known = $state(false)

  constructor() {
    // A 401 may also say that a proof is not fresh: helm is asked which it is.
    whenSignedOut(() => void this.load().catch(() => {}))
  }

  /** Asks helm who is signed in. Throws ApiError where helm does not answer. */
  async load(signal?: AbortSignal): Promise<void> {
    try {
      this.enter(await api.get<Me>("/session", signal ? { signal } : {}))
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) this.leave()
      else throw error
    }
  }

  enter(me: Me): void {
    setCsrf(me.csrf)
    this.me = me
    this.known = true
  }

  leave(): void {
    setCsrf("")
    this.me = null
    this.known = true
  }

  async signOut(everywhere = false): Promise<void> {
    await api.del("/session", everywhere ? { query: { all: true } } : {})
    this.leave()
  }

  /** Whether the role of whoever looks includes this one. */
  can(role: Role): boolean {
    return this.me !== null && RANK[this.me.role] >= RANK[role]
  }
}

export const session = new SessionState()
