import type { LocalSentinel } from "../../../sdk/src/local.ts";
import { type Cases, identical, passed, type Stage, same, thrown } from "./check.ts";

/** What is decided in the process itself, without a gateway: `@agentsentinel/sdk/local`. */

const POLICY = `
version: 1
name: local
budgets: { session: 1.00, run: 0.50, actions: { search: 0.10 } }
denied_actions: [delete_database]
rate_limits: { mail: { max_count: 1, window_seconds: 3600 } }
approvals: { actions: [send_money] }
rules:
  - { id: needs-inputs, effect: forbid, actions: [strict], when: "inputs.n > 1" }
`;

const codeOf = (error: unknown): unknown => Reflect.get(Object(error), "code");

/** What a sync function throws. */
function thrownBy(act: () => unknown): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  throw new Error("Nothing was thrown");
}

/** Tells what `name` the current run has, through a guarded call. */
const runTold = (sentinel: LocalSentinel) =>
  sentinel.guard({ action: "look", context: true, inputs: () => undefined }, ({ run }: { readonly run: string }) => run);

export const deciding: Cases = {
  async "a guarded function is of the same kind: sync, async, its this, name and length"({ local }) {
    const sentinel = local.createLocalSentinel({ policy: POLICY });
    const account = {
      owner: "ann",
      pay: sentinel.guard({ action: "pay", costUsd: "0.01" }, function payOut(this: { owner: string }, to: string) {
        return `${this.owner} pays ${to}`;
      }),
    };
    same([account.pay("bob"), account.pay.name, account.pay.length], ["ann pays bob", "payOut", 1]);
    const late = sentinel.guard({ action: "wait", costUsd: "0.02", actualUsd: () => "0.015" }, async (ms: number) => {
      await passed(ms);
      return ms;
    });
    const promise = late(1);
    identical(promise instanceof Promise, true);
    same([await promise, sentinel.costs().sessionTotal], [1, 0.025]);
    return undefined;
  },

  async "a generator, an async generator and a ReadableStream are charged at their end"({ local }) {
    const sentinel = local.createLocalSentinel({ policy: POLICY });
    const spent = (): number => sentinel.costs().sessionTotal;
    const count = sentinel.guard({ action: "count", costUsd: "0.01" }, function* (to: number) {
      for (let n = 0; n < to; n++) yield n;
    });
    const counting = count(2);
    same([counting.next().value, spent()], [0, 0]);
    same([[...counting], spent()], [[1], 0.01]);
    for (const n of count(5)) if (n === 1) break;
    same(spent(), 0.02);

    const talk = sentinel.guard({ action: "talk", costUsd: "0.01" }, async function* (last: string) {
      yield "a";
      await passed(1);
      yield last;
    });
    const found: string[] = [];
    for await (const piece of talk("b")) found.push(piece);
    same([found, spent()], [["a", "b"], 0.03]);

    const speak = sentinel.guard({ action: "speak", costUsd: "0.01" }, () => new Blob(["abc"]).stream());
    same([await new Response(speak()).text(), spent()], ["abc", 0.04]);
    await speak().cancel();
    same(spent(), 0.05);
    return undefined;
  },

  async "what is not allowed does not run: a sync function throws, an async one rejects"({ local, core }) {
    const sentinel = local.createLocalSentinel({ policy: POLICY });
    let runs = 0;
    const act = (action: string, costUsd = "0"): unknown => sentinel.guard({ action, costUsd }, () => ++runs)();
    act("mail");
    for (const [action, costUsd, name, code] of [
      ["delete_database", "0", "PolicyViolationError", "action_denied"],
      ["search", "0.11", "BudgetExceededError", "action_budget_exceeded"],
      ["mail", "0", "RateLimitError", "rate_exceeded"],
      ["send_money", "0", "ApprovalRequiredError", "approval_required"],
    ] as const) {
      const error = thrownBy(() => act(action, costUsd));
      // The classes are those of the core entry: one copy of them is loaded.
      identical(error instanceof core[name], true, `That ${action} gives ${name}`);
      same([codeOf(error), runs], [code, 1]);
    }
    const late = sentinel.guard({ action: "delete_database" }, async () => ++runs);
    same(codeOf(await thrown(late())), "action_denied");
    const none = local.createLocalSentinel();
    same([codeOf(thrownBy(none.guard({ action: "any" }, () => ++runs))), runs], ["policy_missing", 1]);
    return undefined;
  },

  async "a policy with a mistake is refused with its place, and what was in force stays"({ local }) {
    const sentinel = local.createLocalSentinel({ policy: POLICY });
    const error = thrownBy(() => sentinel.use("version: 1\nname: local\nbudgets: { session: -1 }\n"));
    same(
      /line 3|:3:|3:\d/.test(String(error)) || JSON.stringify(error).includes("/budgets/session"),
      true,
      `Of ${String(error)}, that it tells the place`,
    );
    same(sentinel.policy?.name, "local");
    const other = sentinel.use({ version: 1, name: "other", allowed_actions: [] });
    same([other?.name, codeOf(thrownBy(sentinel.guard({ action: "any" }, () => 1)))], ["other", "action_not_allowed"]);
    return undefined;
  },

  async "conditions are evaluated as the gateway does, and inputs that are no plain data are never bent into shape"({ local }) {
    const sentinel = local.createLocalSentinel({ policy: POLICY });
    const strict = sentinel.guard({ action: "strict" }, (given: unknown) => given);
    same(strict({ n: 1 }), { n: 1 });
    same(codeOf(thrownBy(() => strict({ n: 2 }))), "rule_forbids");
    same(codeOf(thrownBy(() => strict({ n: 1n }))), "inputs_required");
    return undefined;
  },

  async "what a function throws passes unchanged, whatever it is"({ local }) {
    const sentinel = local.createLocalSentinel({ policy: POLICY });
    for (const what of [new RangeError("mine"), undefined, Symbol.iterator]) {
      const options = { action: "fail" };
      const fail = (): never => {
        throw what;
      };
      identical(thrownBy(sentinel.guard(options, fail)), what);
      identical(await thrown(sentinel.guard(options, async () => fail())()), what);
    }
    return undefined;
  },

  async "a run whose budget is gone stops: its signal aborts, and the next run goes on"({ local }) {
    const sentinel = local.createLocalSentinel({ policy: POLICY });
    const { signal } = sentinel.currentRun;
    const spend = sentinel.guard({ action: "spend", costUsd: "0.30" }, () => 1);
    spend();
    const error = thrownBy(spend);
    same([codeOf(error), signal.aborted], ["run_budget_exceeded", Reflect.get(Object(Reflect.get(Object(error), "decision")), "stops") === "run"]);
    sentinel.startRun();
    same([spend(), sentinel.costs().runTotal, sentinel.costs().sessionTotal], [1, 0.3, 0.6]);
    return undefined;
  },

  async "runs side by side never see one another"({ local }) {
    const sentinel = local.createLocalSentinel({ policy: POLICY });
    const look = runTold(sentinel);
    const ids = await Promise.all(
      Array.from({ length: 5 }, () =>
        sentinel.run(async (run) => {
          const before = look();
          await passed(Math.random() * 5);
          return [before === run.id, run.call(look) === run.id];
        }),
      ),
    );
    same(
      ids,
      Array.from({ length: 5 }, () => [true, true]),
    );
    same(look(), sentinel.currentRun.id);
    return undefined;
  },

  async "what runs after an await still belongs to its run and to its call"({ local }) {
    const { process }: { process?: { getBuiltinModule?: (name: string) => object | undefined } } = globalThis as object;
    const hooks = process?.getBuiltinModule?.("node:async_hooks");
    if (hooks === undefined || !("AsyncLocalStorage" in hooks)) return "it has no AsyncLocalStorage";
    const decisions: (readonly string[])[] = [];
    const sentinel = local.createLocalSentinel({ policy: POLICY, ledger: local.createMemoryStore() });
    const look = runTold(sentinel);
    const outer = sentinel.guard({ action: "outer", context: true }, async ({ run }) => {
      await passed(Math.random() * 5);
      decisions.push([run, look()]);
    });
    await Promise.all(Array.from({ length: 5 }, () => sentinel.run(() => outer())));
    same(
      decisions.map(([run, told]) => run === told),
      [true, true, true, true, true],
    );
    same(new Set(decisions.map(([run]) => run)).size, 5);
    return undefined;
  },

  async "the ledger has a line before and a line after each call, chained, whatever the values are"({ local }) {
    const ledger = local.createMemoryStore();
    const sentinel = local.createLocalSentinel({ policy: POLICY, ledger });
    const circle: { self?: unknown; big?: bigint } = { big: 2n ** 64n };
    circle.self = circle;
    const take = sentinel.guard({ action: "take", costUsd: "0.01" }, (..._args: unknown[]) => circle);
    identical(take(circle, new Map(), Symbol("s"), new Uint8Array(3), "x".repeat(3_000_000)), circle);
    thrownBy(sentinel.guard({ action: "delete_database" }, () => 1));
    const lines = ledger.after(0, 100);
    same(
      lines.map(({ kind, action, outcome, cost_usd }) => [kind, action, outcome, cost_usd]),
      [
        ["decision", "take", "allowed", 0],
        ["outcome", "take", "success", 0.01],
        ["decision", "delete_database", "denied", 0],
      ],
    );
    same(JSON.stringify(lines).length < 200_000, true, "That what is written is bounded");
    const copied = JSON.parse(JSON.stringify(lines));
    same(local.verifyChain(copied).ok, true);
    copied[1].cost_usd = 0;
    same(local.verifyChain(copied).ok, false);
    return undefined;
  },

  async "the original's surface works: PolicyEngine, guardedAction as a function and as a decorator, CostTracker"({ local }) {
    const { PolicyEngine, guardedAction, CostTracker } = local;
    PolicyEngine.reset();
    const add = guardedAction({ name: "add", costUsd: 0.25 })((a: number, b: number) => a + b);
    same(codeOf(thrownBy(() => add(1, 2))), "policy_missing");
    PolicyEngine.configure({ sessionBudget: 1, deniedActions: ["never"] });
    class Bank {
      owner = "ann";
      pay(to: string): string {
        return `${this.owner} pays ${to}`;
      }
      never(): number {
        return 1;
      }
    }
    // What compilers make of decorators, of either kind, where the runtime does not know them.
    const { pay, never } = Object.getOwnPropertyDescriptors(Bank.prototype);
    Object.defineProperty(Bank.prototype, "pay", guardedAction({ costUsd: 0.5 })(Bank.prototype, "pay", pay));
    // The rest of a context is not looked at.
    const context = { kind: "method", name: "never" } as ClassMethodDecoratorContext<Bank, () => number>;
    Object.defineProperty(Bank.prototype, "never", { ...never, value: guardedAction()(Bank.prototype.never, context) });
    const bank = new Bank();
    same([add(1, 2), bank.pay("bob")], [3, "ann pays bob"]);
    same(codeOf(thrownBy(() => bank.never())), "action_denied");
    same(codeOf(thrownBy(() => bank.pay("eve"))), "session_budget_exceeded");
    same([CostTracker.getSessionTotal(), CostTracker.getActionStats("pay")], [0.75, { count: 1, totalCost: 0.5 }]);
    PolicyEngine.reset();
    return undefined;
  },
} satisfies { readonly [name: string]: (stage: Stage) => unknown };
