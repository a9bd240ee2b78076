import core, { type Key } from "./en"
import rest from "./en-rest"

/** All of English, for tests. */
export default { ...core, ...rest } as Record<Key, string>
