import { describe, expect, it } from "vitest"
import { browserOf } from "./browser"

const MOZILLA = "Mozilla/5.0"

describe("browserOf", () => {
  it.each([
    [`${MOZILLA} (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36`, "Chrome 140", "Linux"],
    [`${MOZILLA} (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0`, "Firefox 142", "Linux"],
    [`${MOZILLA} (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/139.0.0.0 Safari/537.36 Edg/139.0.1.2`, "Edge 139", "Windows"],
    [`${MOZILLA} (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.3 Safari/605.1.15`, "Safari 18", "macOS"],
    [`${MOZILLA} (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1 Version/18.1 Mobile/15E148 Safari/604.1`, "Safari 18", "iPhone"],
    [`${MOZILLA} (Linux; Android 15) AppleWebKit/537.36 Chrome/138.0.0.0 Mobile Safari/537.36`, "Chrome 138", "Android"],
    ["curl/8.14.1", "curl 8", null],
  ])("knows %s", (text, program, system) => {
    expect(browserOf(text)).toEqual({ program, system })
  })

  it("does not guess", () => {
    expect(browserOf("a test")).toEqual({ program: null, system: null })
    expect(browserOf("")).toEqual({ program: null, system: null })
  })
})
