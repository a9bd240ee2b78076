// A PNG in fewer octets: 256 colours, the most frequent ones, as a palette (PNG specification, third edition).
async (text) => {
  const read = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))
  const picture = await createImageBitmap(new Blob([read], { type: "image/png" }))
  const { width, height } = picture
  const context = new OffscreenCanvas(width, height).getContext("2d", { alpha: false })
  context.drawImage(picture, 0, 0)
  const pixels = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer)

  const counts = new Map()
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1)
  const palette = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 256).map(([pixel]) => pixel)
  const parts = (pixel) => [pixel & 255, (pixel >> 8) & 255, (pixel >> 16) & 255]
  const places = new Map(palette.map((pixel, at) => [pixel, at]))
  const colours = palette.map(parts)
  const nearest = (pixel) => {
    const [r, g, b] = parts(pixel)
    let best = 0
    let least = Infinity
    colours.forEach(([red, green, blue], at) => {
      const far = 3 * (red - r) ** 2 + 6 * (green - g) ** 2 + (blue - b) ** 2
      if (far < least) [best, least] = [at, far]
    })
    places.set(pixel, best)
    return best
  }
  const rows = new Uint8Array((width + 1) * height)
  for (let y = 0; y < height; y += 1)
    for (let x = 0; x < width; x += 1) {
      const pixel = pixels[y * width + x]
      rows[y * (width + 1) + 1 + x] = places.get(pixel) ?? nearest(pixel)
    }
  const deflated = new Response(new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate")))

  const table = Array.from({ length: 256 }, (_, at) => {
    let sum = at
    for (let bit = 0; bit < 8; bit += 1) sum = sum & 1 ? 0xedb88320 ^ (sum >>> 1) : sum >>> 1
    return sum
  })
  const number = (value) => [24, 16, 8, 0].map((shift) => (value >>> shift) & 255)
  const chunk = (name, content) => {
    const body = [...[...name].map((letter) => letter.charCodeAt(0)), ...content]
    let sum = -1
    for (const octet of body) sum = table[(sum ^ octet) & 255] ^ (sum >>> 8)
    return [...number(content.length), ...body, ...number(~sum)]
  }
  const made = [
    ...[137, 80, 78, 71, 13, 10, 26, 10],
    ...chunk("IHDR", [...number(width), ...number(height), 8, 3, 0, 0, 0]),
    ...chunk("PLTE", colours.flat()),
    ...chunk("IDAT", new Uint8Array(await deflated.arrayBuffer())),
    ...chunk("IEND", []),
  ]
  return btoa(made.map((octet) => String.fromCharCode(octet)).join(""))
}
