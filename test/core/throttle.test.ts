import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Principal } from "../../src/core/request.ts";
import { DoorMemory, STILL_ASKING_MS } from "../../src/http/door_memory.ts";
import { EXAMPLE_IDS } from "../../src/http/fields.ts";
import { POLICY_WEIGHT, SIMULATION_WEIGHT } from "../../src/http/route.ts";
import {
  beyondMs,
  LONE_READS_OF_TENANT,
  LONE_READS_OF_TOKEN,
  MOST_TURN_MS,
  MOST_WAITS_OF_TENANT,
  MOST_WAITS_OF_TOKEN,
  READS_OF_TENANT,
  READS_OF_TOKEN,
  rateFields,
  Throttle,
  type ThrottleLimit,
  WORK_OF_TENANT,
  WORK_OF_TOKEN,
} from "../../src/http/throttle.ts";
import { portsOf } from "./http_world.ts";

const LIMIT: ThrottleLimit = { requests: 4, windowMs: 1_000 };

describe("the gateway's own door", () => {
  it.each([
    ["lets so many in at once", [0, 0, 0, 0, 0], [true, true, true, true, false]],
    ["and then one more for each part of the window", [0, 0, 0, 0, 249, 250, 250, 500], [true, true, true, true, false, true, false, true]],
    ["and all again after the window", [0, 0, 0, 0, 1_000, 1_000, 1_000, 1_000, 1_000], [true, true, true, true, true, true, true, true, false]],
    ["a clock that goes back lets nobody in twice", [500, 500, 500, 500, 0, 500], [true, true, true, true, false, false]],
  ])("%s", (_, times, expected) => {
    const throttle = new Throttle();
    expect(times.map((at) => throttle.admit("t", LIMIT, at).isLet)).toEqual(expected);
  });

  it("lets in no more than its burst and what came back meanwhile, in any stretch; who waits as told is let in, and not sooner", () => {
    const limit = fc.record({ requests: fc.integer({ min: 1, max: 50 }), windowMs: fc.integer({ min: 1, max: 10_000 }) });
    fc.assert(
      fc.property(limit, fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 120 }), (of, gaps) => {
        const throttle = new Throttle();
        const let_: number[] = [];
        let now = 1_000_000;
        for (const gap of gaps) {
          now += gap;
          const found = throttle.admit("t", of, now);
          if (found.isLet) let_.push(now);
          else {
            const then = Math.ceil(now + found.waitMs);
            if (then - 1 > now) expect(new Throttle().admit("other", of, then).isLet).toBe(true);
            now = then;
            expect(throttle.admit("t", of, now).isLet).toBe(true);
            let_.push(now);
          }
        }
        for (const [first, from] of let_.entries()) {
          for (let last = first; last < let_.length; last++) {
            const stretch = (let_[last] ?? 0) - from;
            expect(last - first + 1).toBeLessThanOrEqual(of.requests + Math.floor((stretch * of.requests) / of.windowMs + 1e-6));
          }
        }
      }),
    );
  });

  it("counts each token by itself, and forgets only those that owe nothing", () => {
    const throttle = new Throttle();
    for (let n = 0; n < 4; n++) throttle.admit("busy", LIMIT, 0);
    for (let n = 0; n < 30_000; n++) expect(throttle.admit(`t${n}`, LIMIT, 1).isLet).toBe(true);
    expect(throttle.admit("busy", LIMIT, 2).isLet).toBe(false);
  });

  it("says how much is left and when to come back (RateLimit fields)", () => {
    const throttle = new Throttle();
    const limit = { requests: 2, windowMs: 10_000 };
    expect(rateFields(throttle.admit("t", limit, 0))).toEqual({ "RateLimit-Policy": '"token";q=2;w=10', RateLimit: '"token";r=1;t=5' });
    expect(rateFields(throttle.admit("t", limit, 0))).toEqual({ "RateLimit-Policy": '"token";q=2;w=10', RateLimit: '"token";r=0;t=5' });
    expect(rateFields(throttle.admit("t", limit, 0))).toMatchObject({ RateLimit: '"token";r=0;t=5', "Retry-After": "5" });
  });
});

describe("what keeps the gateway busy", () => {
  const of = (tokenId: string, tenant = "demo"): Principal => ({ tokenId: tokenId as Principal["tokenId"], tenant, subject: "ada", kind: "agent" });
  const share = ({ requests, windowMs }: ThrottleLimit): number => requests / windowMs;
  const HEAVIEST_MS = POLICY_WEIGHT.kib * 1024;

  it("is a tenth of the time for one token, and a quarter for all of a tenant, whoever asks for what and when", () => {
    expect([share(WORK_OF_TOKEN), share(WORK_OF_TENANT)]).toEqual([0.1, 0.25]);
    const asked = fc.record({
      gap: fc.integer({ min: 0, max: 3_000 }),
      token: fc.integer({ min: 0, max: 5 }),
      workMs: fc.integer({ min: 1, max: HEAVIEST_MS }),
    });
    fc.assert(
      fc.property(fc.array(asked, { maxLength: 120 }), (requests) => {
        const memory = new DoorMemory();
        let now = 0;
        const done = new Map<string, number>();
        for (const { gap, token, workMs } of requests) {
          now += gap;
          const found = memory.weigh(of(`${token}`), workMs, now);
          if (found.isLet) for (const key of [`${token}`, "all"]) done.set(key, (done.get(key) ?? 0) + workMs);
          else expect(memory.weigh(of(`${token}`), 0, Math.ceil(now + found.waitMs)).isLet || found.limit === WORK_OF_TOKEN).toBe(true);
          for (const [key, sum] of done) {
            const limit = key === "all" ? WORK_OF_TENANT : WORK_OF_TOKEN;
            // What it may have at once, the last that it was let, and what came back meanwhile.
            expect(sum).toBeLessThanOrEqual(limit.requests + HEAVIEST_MS + now * share(limit) + 1e-6);
          }
        }
      }),
    );
  });

  it("is owed whole: who had thirty times what may come at once waits that long", () => {
    const memory = new DoorMemory();
    expect(memory.weigh(of("t"), 30_000, 0).isLet).toBe(true);
    expect(memory.weigh(of("t"), 1, 289_999)).toMatchObject({ isLet: false, limit: WORK_OF_TOKEN });
    expect(memory.weigh(of("t"), 1, 290_010).isLet).toBe(true);
  });

  it("is no other tenant's affair, and one token's is another's only when all of the tenant is used up", () => {
    const memory = new DoorMemory();
    expect(["a", "a", "b", "b", "c", "d"].map((token) => memory.weigh(of(token), 1_000, 0))).toMatchObject([
      { isLet: true },
      { isLet: false, limit: WORK_OF_TOKEN },
      { isLet: true },
      { isLet: false, limit: WORK_OF_TOKEN },
      { isLet: true },
      { isLet: false, limit: WORK_OF_TENANT },
    ]);
    expect(memory.weigh(of("a", "other"), 1_000, 0).isLet).toBe(true);
  });

  it.each([
    ["nothing is held of it any more", 0, 0, 1_000],
    ["what it cost is counted", 0, 300, 700],
    ["what came back by itself is not given back once more", 2_000, 0, 1_000],
    ["what took longer than what was held comes back by itself", 60_000, 400, 600],
  ])("when a simulation is answered, %s", (_, tookMs, spentMs, left) => {
    const memory = new DoorMemory();
    const held = { workMs: SIMULATION_WEIGHT.held, since: 0 };
    memory.weigh(of("t"), held.workMs, 0);
    memory.settle(of("t"), held, spentMs, tookMs);
    expect(memory.weigh(of("t"), 0, tookMs).remaining).toBe(left);
    // Beside other work it pays for nothing of that.
    const busy = new DoorMemory();
    busy.weigh(of("t"), held.workMs, 0);
    busy.weigh(of("t"), 400, tookMs);
    busy.settle(of("t"), held, spentMs, tookMs);
    expect(busy.weigh(of("t"), 0, tookMs).remaining).toBe(600 - spentMs);
  });
});

describe("long reads", () => {
  const of = (tokenId: string, tenant = "demo"): Principal => ({ tokenId: tokenId as Principal["tokenId"], tenant, subject: "ada", kind: "agent" });
  const share = ({ requests, windowMs }: ThrottleLimit): number => requests / windowMs;
  const waitOf = (memory: DoorMemory, reader: Principal, workMs: number, now: number): number | null => {
    const turn = memory.takeTurn(reader, workMs, now);
    return turn.ok ? turn.value : null;
  };

  it("have three tenths of the time for one token and four for a tenant, beside others' requests, whoever reads what and when", () => {
    expect([READS_OF_TOKEN, READS_OF_TENANT, LONE_READS_OF_TOKEN, LONE_READS_OF_TENANT].map(share)).toEqual([0.3, 0.4, 0.7, 1]);
    const asked = fc.record({
      gap: fc.integer({ min: 0, max: 1_000 }),
      token: fc.integer({ min: 0, max: 4 }),
      workMs: fc.integer({ min: 1, max: 400 }),
    });
    fc.assert(
      fc.property(fc.array(asked, { maxLength: 120 }), (reads) => {
        const memory = new DoorMemory();
        let now = 0;
        const let_ = new Map<string, number>();
        for (const { gap, token, workMs } of reads) {
          now += gap;
          memory.noteAsking("other", now);
          const waitMs = waitOf(memory, of(`${token}`), workMs, now);
          if (waitMs === null) continue;
          expect(waitMs).toBeLessThanOrEqual(MOST_TURN_MS);
          for (const [key, limit] of [[`${token}`, READS_OF_TOKEN] as const, ["all", READS_OF_TENANT] as const]) {
            const before = let_.get(key) ?? 0;
            // What it may have at once, and what came back until its turn.
            expect(before).toBeLessThanOrEqual(limit.requests + (now + waitMs) * share(limit) + 1e-6);
            let_.set(key, before + workMs);
          }
        }
      }),
    );
  });

  it("have all of the time where nobody else asks, and leave others theirs from their first request on until they ask no more", () => {
    const memory = new DoorMemory();
    const waits = (now: number) => [150, 150, 150].map((workMs) => Math.round(waitOf(memory, of("t"), workMs, now) ?? -1));
    memory.noteAsking("demo", 0);
    expect(waits(0)).toEqual([0, 0, 0]);
    memory.noteAsking("other", 10_000);
    // One of another tenant's is not hidden by the tenant's own.
    for (let at = 10_001; at < 10_010; at++) memory.noteAsking("demo", at);
    expect(waits(10_010)).toEqual([0, 0, 3]);
    expect(waits(10_000 + STILL_ASKING_MS)).toEqual([0, 0, 0]);
  });

  it("that would wait too long are refused, named the limit, and counted nowhere; other tenants' read on", () => {
    const memory = new DoorMemory();
    memory.noteAsking("other", 0);
    expect(waitOf(memory, of("t"), 3_225, 0)).toBe(0);
    expect(Math.round(waitOf(memory, of("t"), 100, 0) ?? -1)).toBe(9_753);
    for (let n = 0; n < 3; n++)
      expect(memory.takeTurn(of("t"), 1_000, 0)).toMatchObject({ ok: false, error: { isLet: false, limit: READS_OF_TOKEN, remaining: 0 } });
    expect(Math.round(waitOf(memory, of("t"), 1, 100) ?? -1)).toBe(9_987);
    expect(waitOf(memory, of("t", "elsewhere"), 100, 0)).toBe(0);
  });

  it("are counted for what they went through in the end", () => {
    const memory = new DoorMemory();
    memory.noteAsking("other", 0);
    memory.takeTurn(of("t"), 1_000, 0);
    expect(Math.round(memory.waitOfRead(of("t"), 0))).toBe(2_337);
    memory.countRead(of("t"), 600, 0);
    memory.countRead(of("t"), -1_000, 0);
    expect(Math.round(memory.waitOfRead(of("t"), 0))).toBe(1_003);
    memory.countRead(of("t"), -1_000, 0);
    expect(memory.waitOfRead(of("t"), 0)).toBe(0);
  });

  it.each([
    ["took no longer than it should have", 20, 20, 0],
    ["was on a slower machine", 20, 50, 30],
    ["waited for a database that is far away", 20, 2_000, 60],
    ["was read before the clock went on", 20, 0, 0],
  ])("what %s counts for so much more", (_, workMs, tookMs, more) => {
    expect(beyondMs(workMs, tookMs)).toBe(more);
  });
});

describe("answers that are held back", () => {
  const of = (tokenId: string, tenant = "demo"): Principal => ({ tokenId: tokenId as Principal["tokenId"], tenant, subject: "ada", kind: "agent" });

  it("have so many places of a token and of a tenant, and whoever finds none takes none from others", () => {
    const memory = new DoorMemory();
    const begun = (principal: Principal, times: number) => Array.from({ length: times }, () => memory.beginWait(principal, 0, 1_000));
    const counted = (places: readonly unknown[]): number => places.filter((place) => place !== null).length;
    expect(counted(begun(of("a"), MOST_WAITS_OF_TOKEN + 5))).toBe(MOST_WAITS_OF_TOKEN);
    const others = Array.from({ length: MOST_WAITS_OF_TENANT }, (_, token) => begun(of(`b${token}`), 1)).flat();
    expect(counted(others)).toBe(MOST_WAITS_OF_TENANT - MOST_WAITS_OF_TOKEN);
    expect(counted(begun(of("a", "other"), 1))).toBe(1);
    // What ends gives its place back, once.
    for (let n = 0; n < 3; n++) others[0]?.();
    expect(counted(begun(of("c"), 3))).toBe(1);
    expect(memory.beginWait(of("c"), 999, 1_000)).toBeNull();
    expect(memory.beginWait(of("c"), 1_000, 1_000)).not.toBeNull();
  });
});

describe("a tenant's own limit", () => {
  it("is asked for again after a lease term when whoever asked was cut off without a word", () => {
    let asked = 0;
    const ports = portsOf({
      tenants: {
        readSettings: () => {
          asked++;
          return new Promise(() => undefined);
        },
      },
    });
    const memory = new DoorMemory();
    const principal: Principal = { tokenId: EXAMPLE_IDS.tok, tenant: "demo", subject: "ada", kind: "agent" };
    const askedBy = (now: number): number => {
      memory.admit(principal, false, ports, now, () => undefined);
      return asked;
    };
    expect([0, 1, 29_999, 30_000, 59_999, 60_000].map(askedBy)).toEqual([1, 1, 1, 2, 2, 3]);
  });
});
