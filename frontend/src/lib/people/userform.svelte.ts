import { formatAmount, fromLocal, parseAmount, toLocal } from "$lib/devices/amounts"
import { t } from "$lib/i18n/index.svelte"
import type { UserRecord } from "./records"

export type UserValues = Pick<
  UserRecord,
  "name" | "email" | "device_limit" | "quota_bytes" | "quota_period" | "quota_action" | "expires_at" | "note"
>

/** What is typed of a person, what it means, and what is wrong with it. */
export class UserForm {
  name = $state("")
  email = $state("")
  devices = $state("")
  quota = $state("")
  period = $state("month")
  action = $state("warn")
  expires = $state("")
  note = $state("")
  readonly #base: UserRecord | null

  constructor(base: UserRecord | null = null) {
    this.#base = base
    if (!base) return
    this.name = base.name
    this.email = base.email ?? ""
    this.devices = base.device_limit === null ? "" : String(base.device_limit)
    this.quota = formatAmount(base.quota_bytes)
    this.period = base.quota_period
    this.action = base.quota_action
    this.expires = toLocal(base.expires_at)
    this.note = base.note
  }

  /** `undefined` where it cannot be read. */
  get values(): { [key in keyof UserValues]: UserValues[key] | undefined } {
    const devices = this.devices.trim()
    return {
      name: this.name.trim() || undefined,
      email: this.email.trim() || null,
      device_limit: devices === "" ? null : /^\d{1,6}$/.test(devices) ? Number(devices) : undefined,
      quota_bytes: parseAmount(this.quota),
      quota_period: this.period,
      quota_action: this.action,
      expires_at: fromLocal(this.expires, this.#base?.expires_at ?? null),
      note: this.note.trim(),
    }
  }

  get wrong(): { name: string | null; email: string | null; devices: string | null; quota: string | null } {
    const { values } = this
    return {
      name: values.name === undefined ? t("common.required") : null,
      email: values.email && !/^[^@\s]{1,64}@[^@\s]{1,189}$/.test(values.email) ? t("people.emailWrong") : null,
      devices: values.device_limit === undefined ? t("people.deviceLimitWrong") : null,
      quota: values.quota_bytes === undefined ? t("devices.quotaWrong") : null,
    }
  }

  get fits(): boolean {
    return Object.values(this.wrong).every((one) => one === null) && this.values.expires_at !== undefined
  }

  /** What is to be different from the record that the form was opened with. */
  get changes(): Partial<UserValues> {
    const base = this.#base
    return Object.fromEntries(
      Object.entries(this.values).filter(([key, value]) => value !== undefined && value !== base?.[key as keyof UserValues]),
    )
  }
}
