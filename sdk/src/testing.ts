/** For the unit tests of programs that ask a gateway: a sentinel whose gateway, clock and ids are in the test's own process. */

export type { TestCall } from "./testing/calls.ts";
export { createTestSentinel, type TestAnswer, type TestSentinel, type TestSentinelOptions } from "./testing/test_sentinel.ts";
