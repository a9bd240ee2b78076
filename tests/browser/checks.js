// Runs before every document of a tab under test (tests/browser/tabs.py). It is the debugger's, so that no policy of the
// page applies to it. `seen` is what the document has gone through; each of `checks` returns what is wrong, a line for
// each element.
window.seen = { violations: [], shifts: [], tasks: [], paints: {} }

document.addEventListener("securitypolicyviolation", (event) => {
  const { effectiveDirective, blockedURI, sourceFile, lineNumber, sample } = event
  const told = `${effectiveDirective} ${blockedURI} ${sourceFile}:${lineNumber} ${sample}`
  window.seen.violations.push(told)
  window.tellViolation?.(told)
})

{
  const watch = (type, take) =>
    new PerformanceObserver((list) => list.getEntries().forEach(take)).observe({ type, buffered: true })
  const name = (node) =>
    node?.nodeType === 1 ? `${node.tagName.toLowerCase()}.${node.getAttribute("class")}` : String(node?.nodeName)
  watch("layout-shift", (entry) => {
    if (entry.hadRecentInput) return
    const nodes = entry.sources.map((source) => name(source.node))
    window.seen.shifts.push({ value: entry.value, at: entry.startTime, nodes })
  })
  watch("longtask", ({ startTime, duration }) => window.seen.tasks.push({ at: startTime, duration }))
  watch("paint", (entry) => {
    window.seen.paints[entry.name] = entry.startTime
  })
}

window.checks = (() => {
  const CONTROLS =
    "a[href], button, input, select, textarea, [role=button], [role=tab], [role=switch], [role=checkbox]," +
    " [role=option], [role=menuitem]"
  // Words of the app; what a person wrote may be cut, with the whole in reach.
  const LABELS =
    "button, a.btn, th, label, legend, h1, h3, dt, .lab, .nav a, .tabbar a, .pill, .st, [role=tab], .stats p"

  const name = (element) => {
    const text = (element.getAttribute("aria-label") ?? element.textContent ?? "").trim().replace(/\s+/g, " ")
    return `${element.tagName.toLowerCase()}.${element.getAttribute("class") ?? ""} “${text.slice(0, 40)}”`
  }
  const shown = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true })
  const all = (selector) => [...document.querySelectorAll(selector)].filter(shown)
  const box = (element) => element.getBoundingClientRect()

  function* texts() {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    while (walker.nextNode()) {
      const { data, parentElement } = walker.currentNode
      if (data.trim() && parentElement && shown(parentElement)) yield [data.trim().replace(/\s+/g, " "), parentElement]
    }
  }

  return {
    /** Rendered text of fewer CSS pixels, that of maps and charts as it is scaled; what is for the ear is clipped. */
    smallText(least) {
      const wrong = new Set()
      for (const [, element] of texts()) {
        const { width, height } = box(element)
        if (width <= 1 || height <= 1) continue
        const scale = element.ownerSVGElement?.getScreenCTM()?.a ?? 1
        const size = parseFloat(getComputedStyle(element).fontSize) * scale
        if (size < least - 0.01) wrong.add(`${name(element)}: ${size.toFixed(1)} px`)
      }
      return [...wrong]
    },

    /** Controls that a finger or a pointer misses. A link in running text is as high as its line (WCAG 2.5.8). */
    smallTargets(least) {
      return all(CONTROLS).flatMap((element) => {
        if (element.matches(":disabled, .sr, .sr *, .skip")) return []
        if (element.matches("a") && getComputedStyle(element).display === "inline") return []
        // A row of a table is opened wherever it is hit.
        const row = element.matches("a") ? element.closest("tr[data-id]") : null
        const hit = [element, element.closest("label"), element.labels?.[0], element.closest(".field"), row]
        const boxes = hit.filter(Boolean).map(box).filter(({ width, height }) => width > 1 && height > 1)
        if (!boxes.length) return []
        const [wide, high] = [Math.max(...boxes.map((b) => b.width)), Math.max(...boxes.map((b) => b.height))]
        const small = wide < least - 0.5 || high < least - 0.5
        return small ? [`${name(element)}: ${wide.toFixed(0)} × ${high.toFixed(0)} px`] : []
      })
    },

    /** What makes the page wider than its window. */
    sideways() {
      const root = document.documentElement
      if (root.scrollWidth <= root.clientWidth) return []
      const wide = all("body *").filter((element) => box(element).right > root.clientWidth + 0.5)
      return [`the page is ${root.scrollWidth - root.clientWidth} px too wide`, ...wide.slice(0, 8).map(name)]
    },

    /** Moments that a machine cannot read, or whose exact time no keyboard reaches. */
    times() {
      return all("time").flatMap((element) => {
        const at = element.getAttribute("datetime") ?? ""
        if (!/^\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d))?$/.test(at)) return [`${name(element)}: datetime “${at}”`]
        const reached = element.closest('[tabindex="0"], a[href], button')
        return reached ? [] : [`${name(element)}: no tooltip can be reached by keyboard`]
      })
    },

    /** Words of the app that are not shown whole. */
    cutLabels() {
      return all(LABELS)
        .filter((element) => {
          if (!element.textContent.trim() || element.clientWidth <= 1 || element.matches(".sr, .sr *")) return false
          const hides = ["hidden", "clip"].includes(getComputedStyle(element).overflowX)
          return hides && element.scrollWidth > element.clientWidth + 1
        })
        .map(name)
    },

    /** Every text of the page, once each, those in attributes too. */
    texts() {
      const found = new Set([...texts()].map(([text]) => text))
      for (const attribute of ["aria-label", "title", "placeholder", "alt"])
        for (const element of document.querySelectorAll(`[${attribute}]`)) found.add(element.getAttribute(attribute).trim())
      return [...found].filter(Boolean)
    },

    /** Heights of the rows of the longest table, in CSS pixels. */
    rowHeights() {
      return [...new Set(all("tbody tr[data-id]").map((row) => Math.round(box(row).height)))]
    },

    /** What is to be seen of the element that has the focus, and whether something lies over it. */
    ring() {
      const element = document.activeElement
      if (!element || element === document.body) return null
      const { left, top, width, height } = box(element)
      const within = (value, most) => Math.min(Math.max(value, 1), most - 1)
      const there = document.elementFromPoint(within(left + width / 2, innerWidth), within(top + height / 2, innerHeight))
      const label = element.closest("label")
      const near = [element, element.closest(".field"), label, element.nextElementSibling].filter(Boolean)
      const ringed = near.some((one) => {
        const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(one)
        const outlined = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2
        return outlined || /0px 0px 0px ([2-9]|[1-9]\d)px/.test(boxShadow)
      })
      const touches = there && (element.contains(there) || there.contains(element) || label?.contains(there))
      return { name: name(element), ringed, hidden: width > 1 && !touches, over: there ? name(there) : "nothing" }
    },
  }
})()
