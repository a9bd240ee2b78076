// The page is one static file for every address; helm has no JavaScript to render it with.
export const ssr = false
export const prerender = false
