declare namespace Cloudflare {
  interface Env extends Readonly<import("../../src/env.ts").Env> {
    TEST_MIGRATIONS: import("cloudflare:test").D1Migration[];
  }
}

/** A file's text, as it is. */
declare module "*?raw" {
  const text: string;
  export default text;
}
