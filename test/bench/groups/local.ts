import { createLocalSentinel } from "../../../sdk/src/local/sentinel.ts";
import { createMemoryStore } from "../../../sdk/src/local.ts";
import { microUsdOf } from "../../../src/core/money.ts";
import type { Group } from "../groups.ts";
import { casbinMatcher, cedarEngine, type Engine } from "../policy_engines.ts";
import type { Condition, Request } from "../policy_rules.ts";
import { ACTION } from "../policy_rules.ts";
import { atMost } from "../report.ts";
import { median, quantile } from "../rounds.ts";

const BARE = "the function, called bare";
const GUARDED = "guard, with a ledger in memory: decided, run, settled, on record";
const UNRECORDED = "guard, without a ledger";
const CEDAR = "Cedar WASM, preparsed: the decision alone";
const CASBIN = "casbin, one matcher: the decision alone";
const TURNS = 10;
/** The local decision costs at most this. */
const MOST_US = 5;

/** What may not be paid, by a rule each: the same in three languages. */
const CONDITIONS: readonly Condition[] = Array.from({ length: 10 }, (_, place) => ({
  ours: `inputs.to == 'eve${place}' && inputs.amount > ${place}`,
  cedar: `context.inputs.to == "eve${place}" && context.inputs.amount > ${place}`,
  casbin: `r.inputs.to == 'eve${place}' && r.inputs.amount > ${place}`,
}));

const INPUTS = Array.from({ length: 50 }, (_, place) => ({ to: place === 7 ? "eve3" : `ann${place}`, amount: place, env: "dev", region: "eu" }));

const REQUESTS: readonly Request[] = INPUTS.map((inputs) => ({
  team: "red",
  resource: { owner: "ann", tier: "one" },
  inputs,
  tags: [],
  estimateMicroUsd: microUsdOf(10),
}));

/**
 * A decision in the program's own process: what a guarded call costs above the function itself, against Cedar WASM and casbin deciding the same by the
 * same rules. They only decide; a guard also reserves, settles, counts and records.
 */
export const local: Group = {
  name: "local",
  what: "a guarded call decided in process, against calling the function bare, Cedar WASM and casbin",
  byDefault: true,
  async measure({ rounds, seconds }, say) {
    const engines = [
      guarded(GUARDED, true),
      guarded(UNRECORDED, false),
      { ...cedarEngine(CONDITIONS, REQUESTS), name: CEDAR },
      { ...(await casbinMatcher(CONDITIONS, REQUESTS)), name: CASBIN },
    ];
    agree(engines);
    const cases = [{ name: BARE, forbids: (place: number) => pay(inputsAt(place)) < 0 }, ...engines];
    const found = new Map(cases.map(({ name }) => [name, [] as number[]]));
    for (let round = 0; round <= rounds; round++) {
      for (let turn = 0; turn < TURNS; turn++) {
        for (const one of cases) {
          say(`round ${round} of ${rounds}: ${one.name}`);
          const us = timed(one, (seconds * 1000) / 4 / TURNS);
          // Round 0 warms up: nothing of it counts.
          if (round > 0) found.get(one.name)?.push(us);
        }
      }
    }
    const us = (name: string): number => median(found.get(name) ?? []);
    return {
      tables: [
        {
          title: "one call, in microseconds",
          columns: ["median", "p95"],
          rows: Array.from(found, ([name, times]) => ({ name, figures: [median(times), quantile(times, 0.95)] })),
        },
      ],
      ratios: [
        atMost(MOST_US, "microseconds that a guard with a ledger in memory takes", us(GUARDED) - us(BARE)),
        atMost(0.2, "a guard with a ledger in memory / Cedar WASM", us(GUARDED) / us(CEDAR)),
        atMost(null, "a guard with a ledger in memory / casbin", us(GUARDED) / us(CASBIN)),
      ],
      notes: ["Ten rules over the inputs, of which one request in fifty meets one. A call that is denied throws, which is part of what it costs."],
    };
  },
};

const pay = ({ amount }: { readonly to: string; readonly amount: number }): number => amount;

function guarded(name: string, isRecorded: boolean): Engine {
  const policy = { rules: CONDITIONS.map(({ ours }) => ({ effect: "forbid", actions: [ACTION], when: ours })) };
  const sentinel = createLocalSentinel({ policy, ...(isRecorded && { ledger: createMemoryStore() }) });
  const guardedPay = sentinel.guard({ action: ACTION, costUsd: "0.00001" }, pay);
  return {
    name,
    forbids: (place) => {
      try {
        guardedPay(inputsAt(place));
        return false;
      } catch {
        return true;
      }
    },
  };
}

function inputsAt(place: number): (typeof INPUTS)[number] {
  const inputs = INPUTS[place % INPUTS.length];
  if (inputs === undefined) throw new Error("there is a request at every place");
  return { ...inputs };
}

/** What is faster and answers something else is nothing to compare with. */
function agree(engines: readonly Engine[]): void {
  for (const place of REQUESTS.keys()) {
    const answers = new Set(engines.map((engine) => engine.forbids(place)));
    if (answers.size > 1) throw new Error(`The engines do not agree on request ${place}`);
  }
}

/** Microseconds a call, over so many milliseconds. */
function timed({ forbids }: Pick<Engine, "forbids">, ms: number): number {
  const startedAt = performance.now();
  let calls = 0;
  let now = startedAt;
  for (; now - startedAt < ms; now = performance.now()) for (let count = 0; count < 50; count++) forbids(calls++);
  return ((now - startedAt) / calls) * 1000;
}
