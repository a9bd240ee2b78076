import type { Connect, Plugin } from "vite"
import { SCENARIO_NAMES, scenario } from "./fleets.ts"

/** Answers `/api/v1/status` with an invented fleet: `PHAROS_MOCK=calm npm run dev`. */
export function mockHelm(asked: string): Plugin {
  const name = SCENARIO_NAMES.find((known) => known === asked)
  if (!name) throw new Error(`PHAROS_MOCK is one of ${SCENARIO_NAMES.join(", ")}`)
  const born = Date.now()
  const answer: Connect.NextHandleFunction = (request, response, next) => {
    if (request.url !== "/api/v1/status") return next()
    response.setHeader("content-type", "application/json")
    response.end(JSON.stringify(scenario(name, Date.now(), born)))
  }
  return { name: "mock-helm", configureServer: (server) => void server.middlewares.use(answer) }
}
