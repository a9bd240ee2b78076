import { i18n } from "./index.svelte"

// Tests ask for the texts of any page.
await i18n.whole()
