/** Made at build time by kit/land.ts. */
declare module "virtual:land" {
  const rows: readonly (readonly number[])[]
  export default rows
}
