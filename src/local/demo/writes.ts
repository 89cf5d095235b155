import type { KnownReason, Verdict } from "../../../sdk/src/index.ts";
import { canonical } from "./audit.ts";
import type { Played } from "./drive.ts";
import { type Arguments, isFailure } from "./prices.ts";
import type { Run, Write } from "./trace.ts";

/** What became of the writes, where the data says which a right run would have made. Stopped: denied or held. */
export interface Writes {
  readonly expected: { readonly count: number; readonly passed: number; readonly stopped: number };
  readonly unexpected: {
    readonly count: number;
    readonly stopped: number;
    /** Not stopped, but the tool itself answered an error. */
    readonly refused_by_tool: number;
    /** Neither: what was not expected happened. */
    readonly took_effect: number;
  };
  /** Why writes were stopped: each by the first reason it was given. */
  readonly stops: readonly {
    readonly reason: KnownReason | null;
    readonly rule: string | null;
    readonly expected: number;
    readonly unexpected: number;
  }[];
  readonly stopped_expected: readonly {
    readonly task: string;
    readonly trial: string;
    readonly action: string;
    readonly arguments: Arguments;
    readonly verdict: Verdict | null;
    readonly reason: KnownReason | null;
    readonly rule: string | null;
  }[];
}

/** `null`: no run says what was expected of it. */
export function writesOf(played: readonly Played[]): Writes | null {
  const judged = played.filter(({ run }) => run.expected !== null);
  if (judged.length === 0) return null;
  const writes = judged.filter(({ action }) => WRITES.test(action));
  const [expected, unexpected] = [writes.filter(isExpected), writes.filter((write) => !isExpected(write))];
  const ran = unexpected.filter(({ verdict }) => verdict === "allow");
  const refused = ran.filter(({ call }) => isFailure(call.result)).length;
  const stopped = writes.filter(isStopped);
  return {
    expected: {
      count: expected.length,
      passed: expected.filter(({ verdict }) => verdict === "allow").length,
      stopped: expected.filter(isStopped).length,
    },
    unexpected: {
      count: unexpected.length,
      stopped: unexpected.filter(isStopped).length,
      refused_by_tool: refused,
      took_effect: ran.length - refused,
    },
    stops: [...Map.groupBy(stopped, ({ reason, rule }) => `${reason} ${rule}`).values()]
      .flatMap((group) => {
        const [first] = group;
        const right = group.filter(isExpected).length;
        return first === undefined ? [] : [{ reason: first.reason, rule: first.rule, expected: right, unexpected: group.length - right }];
      })
      .sort((a, b) => b.unexpected + b.expected - (a.unexpected + a.expected)),
    stopped_expected: expected.filter(isStopped).map(({ run, call, action, verdict, reason, rule }) => {
      return { task: run.task, trial: run.trial, action, arguments: call.arguments, verdict, reason, rule };
    }),
  };
}

/** The airline's tools that change what it has in its books. */
const WRITES = /^(?:book_reservation|cancel_reservation|update_reservation_.+|send_certificate)$/;

const isStopped = ({ verdict }: Played): boolean => verdict === "deny" || verdict === "hold";

const isExpected = ({ run, call }: Played): boolean => wantedBy(run).has(canonical([call.name, call.arguments]));

/** What a run should write, in canonical form: the order of members and the way a number is written do not matter, that of lists does. */
const wantedBy = ({ expected }: Run): ReadonlySet<string> =>
  new Set((expected ?? []).map((write: Write) => canonical([write.name, write.arguments])));
