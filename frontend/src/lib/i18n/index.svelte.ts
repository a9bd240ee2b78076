import { IntlMessageFormat } from "intl-messageformat"
import en, { type Key } from "./en"

export type { Key }
export type Locale = "en" | "de"
export type Args = Record<string, string | number | boolean | Date | null | undefined>

export const LOCALES: readonly Locale[] = ["en", "de"]
const KEY = "pharos.locale"

/** The language of the page: the reader's own choice, else the browser's first that there is a catalogue for. */
class I18n {
  #locale: Locale = $state("en")
  #texts: Partial<Record<Key, string>> = $state.raw(en)
  #rest: Partial<Record<Key, string>> | null = null
  #started: Promise<void> | null = null
  readonly #formats = new Map<string, IntlMessageFormat>()

  get locale(): Locale {
    return this.#locale
  }

  /** How numbers and dates are written: the browser's region where it speaks this language. */
  get region(): string {
    const found = globalThis.navigator?.languages?.find((tag) => tag.split("-")[0] === this.#locale)
    return found ?? this.#locale
  }

  /** Reads the catalogue that fits, once; resolves when it can be shown. */
  start(): Promise<void> {
    return (this.#started ??= this.#show(stored() ?? fromBrowser()))
  }

  /** Reads what the overview does not say, once, for all other pages; of German nothing is lacking. */
  async whole(): Promise<void> {
    if (this.#locale === "en" && !this.#rest) await this.#readRest()
  }

  has(key: string): boolean {
    return Object.hasOwn(this.#texts, key)
  }

  async choose(locale: Locale): Promise<void> {
    try {
      localStorage.setItem(KEY, locale)
    } catch {
      // Storage is switched off: the choice holds for this page.
    }
    if (!this.#rest) await this.#readRest()
    await this.#show(locale)
  }

  /** The text of a key with its arguments put in; `null` and `undefined` read as nothing. */
  t(key: Key, args?: Args): string {
    const text = this.#texts[key]
    if (text === undefined) return this.#lacking(key)
    if (!text.includes("{")) return text.replaceAll("''", "'")
    const id = `${this.#locale} ${key}`
    let format = this.#formats.get(id)
    if (!format) {
      format = new IntlMessageFormat(text, this.region, undefined, { ignoreTag: true })
      this.#formats.set(id, format)
    }
    return String(format.format(args as Record<string, string> | undefined))
  }

  /** Nothing, until the rest of the catalogue is there and it is asked again. */
  #lacking(key: Key): string {
    if (this.#rest || this.#locale !== "en") return key
    queueMicrotask(() => void this.whole())
    return ""
  }

  async #readRest(): Promise<void> {
    this.#rest = (await import("./en-rest")).default
    if (this.#locale === "en") this.#texts = { ...en, ...this.#rest }
  }

  async #show(locale: Locale): Promise<void> {
    this.#texts = locale === "de" ? (await import("./de")).default : { ...en, ...this.#rest }
    this.#locale = locale
    if (globalThis.document) document.documentElement.lang = locale
  }
}

const isLocale = (text: unknown): text is Locale => LOCALES.includes(text as Locale)

function stored(): Locale | null {
  try {
    const found = localStorage.getItem(KEY)
    return isLocale(found) ? found : null
  } catch {
    return null
  }
}

function fromBrowser(): Locale {
  return navigator.languages.map((tag) => tag.split("-")[0]).find(isLocale) ?? "en"
}

export const i18n = new I18n()
/** `t("nodes.healthy", { n: 3 })`; what reads it in a component is written anew when the language changes. */
export const t = (key: Key, args?: Args): string => i18n.t(key, args)
/** Whether there is such a text: for words that a newer helm may add. */
export const hasText = (key: string): key is Key => i18n.has(key)
