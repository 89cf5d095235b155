declare namespace Cloudflare {
  interface Env extends Readonly<import("../../src/env.ts").Env> {
    TEST_MIGRATIONS: import("cloudflare:test").D1Migration[];
  }
}
