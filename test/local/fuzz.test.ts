import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { look as lookAtDoor } from "../faults/fuzz/door.ts";
import { shown } from "../faults/fuzz/failure.ts";
import { ask, type Gateway, openTenant, readDocuments, startGateway, type Tenant } from "../faults/fuzz/gateway.ts";
import { createJudge, type Judge } from "../faults/fuzz/judge.ts";
import { type Found, type Fuzz, nothingFound, runLane } from "../faults/fuzz/lane.ts";
import { fuzz, told } from "../faults/fuzz/loop.ts";
import { operationsOf } from "../faults/fuzz/operations.ts";
import { look as lookAtPolicy } from "../faults/fuzz/policy.ts";
import { RAW_CASES, runRaw } from "../faults/fuzz/raw.ts";
import { ROWS, replay, spendMuch } from "../faults/fuzz/rows.ts";
import { openSanity, type Sanity } from "../faults/fuzz/sanity.ts";
import { look as lookAtSdk } from "../faults/fuzz/sdk.ts";

/** The bounded part of the fuzzers, under another seed at each run; `FUZZ_SEED` repeats one. The long part: `node test/faults/fuzz/http.ts`. */
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000);

/** The first start on a machine builds the gateway. */
const PATIENCE_MS = 60_000;

describe(`hostile input to the gateway, seed ${SEED}`, () => {
  let gateway: Gateway;
  let tenant: Tenant;
  let judge: Judge;
  let sanity: Sanity;
  let shared: Omit<Fuzz, "found">;

  beforeAll(async () => {
    gateway = await startGateway(() => undefined);
    const { document, policySchema } = await readDocuments(gateway);
    const operations = operationsOf(document);
    judge = createJudge(document, operations, [gateway.rootKey]);
    tenant = await openTenant(gateway);
    sanity = await openSanity(gateway);
    shared = { gateway, operations, schemas: document.components.schemas, policySchema, judge, seed: SEED };
  }, PATIENCE_MS);
  afterAll(() => gateway.stop(), PATIENCE_MS);

  test("that was once answered wrongly is answered as documented", async () => {
    await spendMuch(gateway, tenant);
    const found = await Promise.all(ROWS.map(async (row) => ({ name: row.name, faults: await replay(row, gateway, tenant, judge) })));
    expect(found.filter(({ faults }) => faults.length > 0)).toEqual([]);
  });

  test("that drips, stops half-way, contradicts itself or is no HTTP ends without a fault of ours", async () => {
    const { id: session } = await ask(gateway, tenant.tokens.agent, "POST", "/v1/sessions", 201, {});
    const found = await Promise.all(RAW_CASES.map((one) => runRaw(one, { host: gateway.url.host, tenant, session }, 15_000)));
    expect(found.flatMap(({ fault }) => fault ?? [])).toEqual([]);
  });

  test("made from the OpenAPI document is answered as documented, and money stays exact", async () => {
    const found: Found = nothingFound();
    await sanity.check();
    await Promise.all([0, 1, 2, 3, 4, 5].map((lane) => runLane({ ...shared, found }, lane, 150)));
    await sanity.check();
    const faults = [...found.faults.values()].map(({ fault, failure, names }) =>
      failure === null ? names(JSON.stringify(fault)) : shown(failure, names),
    );
    expect(faults).toEqual([]);
    expect(gateway.death()).toBeNull();
    // A run in which hardly anything got through would have tested the first door only.
    const good = [...found.operations.values()].reduce((sum, operation) => sum + operation.good, 0);
    expect(good).toBeGreaterThan(found.requests / 6);
  });
});

test.each([
  ["policies and conditions", lookAtPolicy, 250],
  ["tokens", lookAtDoor, 1_500],
  ["answers to the SDK", lookAtSdk, 1_500],
])(`hostile %s, seed ${SEED}`, async (_name, look, count) => {
  const found = await fuzz(look, SEED, count);
  expect(told(found, SEED)).toBe("");
  expect(found.outcomes.size).toBeGreaterThan(4);
});
