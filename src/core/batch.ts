import { type Book, forkBook, MOST_SPENT, sharedRate } from "./book.ts";
import { type Ask, batchRefused, conclude, type Judgement, judge } from "./conclude.ts";
import type { Decision } from "./decision.ts";
import { microUsdOf } from "./money.ts";
import type { SharedLimit } from "./policy/findings.ts";
import { isCovered, permitKey, type Short, sliceKey, spanOf, spentIn } from "./shares.ts";
import { openTurn, type Turn } from "./turn.ts";

export type BatchSemantics = "independent" | "all_or_nothing" | "stop_on_deny";

/** One member of a batch; `prior` is its recorded answer, should it have been asked before. */
export interface Member {
  readonly ask: Ask;
  readonly fingerprint: string;
  readonly prior: Decision | null;
}

/** The answers in order; or nothing was done, because the tenant must be asked for what is short. */
export type Decided =
  | { readonly kind: "decided"; readonly answers: readonly { readonly answer: Decision; readonly replayed: boolean }[] }
  | { readonly kind: "short"; readonly shorts: readonly Short[] };

/**
 * Decides members in order, each against what those before it took. `all_or_nothing`: unless every one is allowed, none is, nothing is
 * charged, and where one is denied no person is asked about another.
 * `stop_on_deny`: the answers end at the first that is denied, and what follows was never asked.
 */
export function decideAll(turn: Turn, members: readonly Member[], semantics: BatchSemantics): Decided {
  const [only] = members;
  if (members.length === 1 && only !== undefined && only.prior === null) {
    const judgement = judge(turn.book, only.ask, turn.now, turn.sha256);
    if (judgement.shorts.length > 0) return { kind: "short", shorts: judgement.shorts };
    return { kind: "decided", answers: [{ answer: conclude(turn, only.ask, judgement, only.fingerprint), replayed: false }] };
  }
  const shorts = shortsOf(turn, members);
  if (shorts.length > 0) return { kind: "short", shorts };
  const judgements = semantics === "all_or_nothing" ? judgeTogether(turn, members) : null;
  const answers: { answer: Decision; replayed: boolean }[] = [];
  for (const [place, { ask, fingerprint, prior }] of members.entries()) {
    const answer = prior ?? conclude(turn, ask, judgements?.[place] ?? judge(turn.book, ask, turn.now, turn.sha256), fingerprint);
    answers.push({ answer, replayed: prior !== null });
    if (semantics === "stop_on_deny" && answer.verdict === "deny") break;
  }
  return { kind: "decided", answers };
}

/** A turn at a copy of the book, of which nothing remains: what is tried in it is not written down, which would cost more than all the rest of it. */
const openTrial = ({ book, now, sha256 }: Turn): Turn => openTurn(forkBook(book), now, { sha256, fresh: null });

/** Tries the whole batch on a copy of the book; if any member is not allowed there, those that were are refused with it. */
function judgeTogether(turn: Turn, members: readonly Member[]): readonly (Judgement | null)[] {
  const trial = openTrial(turn);
  let all = true;
  let isDenied = false;
  const judgements = members.map(({ ask, fingerprint, prior }) => {
    const judgement = prior === null ? judge(trial.book, ask, turn.now, turn.sha256) : null;
    if (judgement !== null) conclude(trial, ask, judgement, fingerprint);
    const verdict = (prior ?? judgement)?.verdict;
    all &&= verdict === "allow";
    isDenied ||= verdict === "deny";
    return judgement;
  });
  if (all) return judgements;
  return judgements.map((judgement) => {
    // Beside what is denied nobody is asked anew: a yes would come for nothing.
    const isAsked = judgement?.verdict === "hold" && judgement.approval === null;
    return judgement?.verdict === "allow" || (isDenied && isAsked) ? batchRefused(judgement) : judgement;
  });
}

/** What the tenant must be asked for before a batch can be decided: all that it would take of whatever is too small for it. */
function shortsOf(turn: Turn, members: readonly Member[]): readonly Short[] {
  const sharing = members.filter(({ ask, prior }) => prior === null && ask.tenant !== "lost" && sharesAnything(ask));
  if (sharing.length === 0 || areCovered(turn.book, members)) return [];
  const trial = openTrial(turn);
  const found = new Map<string, Short>();
  /** Of each the most that was taken at once: what is held takes nothing, and still must find it beside what was taken before it. */
  const most = new Map<string, number>();
  for (const { ask, fingerprint, prior } of members) {
    if (prior !== null) continue;
    const judgement = judge(trial.book, ask, turn.now, turn.sha256);
    for (const short of judgement.shorts) {
      const key = keyOf(short);
      const known = found.get(key);
      const isLess = known?.kind === "money" && short.kind === "money" && known.leastMicroUsd < short.leastMicroUsd;
      found.set(key, isLess ? { ...short, leastMicroUsd: known.leastMicroUsd } : short);
      const itself = short.kind === "money" ? short.amountMicroUsd : 1;
      most.set(key, Math.max(most.get(key) ?? 0, takenOf(trial.book, short) - takenOf(turn.book, short) + itself));
    }
    conclude(trial, ask, { ...judgement, shorts: [] }, fingerprint);
  }
  return [...found].flatMap(([key, short]): readonly Short[] => {
    const needed = Math.max(most.get(key) ?? 0, takenOf(trial.book, short) - takenOf(turn.book, short));
    // Differences of two sums of one account, of which the trial's is the larger.
    return short.kind === "calls" ? Array.from({ length: needed }, () => short) : [{ ...short, amountMicroUsd: microUsdOf(needed) }];
  });
}

const keyOf = (short: Short): string => (short.kind === "money" ? sliceKey(short.limit) : permitKey(short));

/** What was taken of an account, or how often leave was used. */
const takenOf = (book: Book, short: Short): number =>
  short.kind === "money" ? spentIn(spanOf(book.shares, short.limit.window)) : (book.shares.permits.get(permitKey(short))?.used.length ?? 0);

/** Whether the slices would do even if every member were allowed: then none is short of anything, and no trial is needed to see it. */
function areCovered({ shares }: Book, members: readonly Member[]): boolean {
  const wanted = new Map<string, { readonly limit: SharedLimit; sum: number }>();
  for (const { ask, prior } of members) {
    if (prior !== null || ask.evaluation?.kind !== "findings") continue;
    const { budgets, rates, estimateMicroUsd } = ask.evaluation.findings;
    // What costs nothing asks of an account what its slice does not tell.
    if (estimateMicroUsd === 0 || rates.some((rate) => sharedRate(rate) !== null)) return false;
    for (const limit of budgets) {
      if (limit.scope !== "agent" && limit.scope !== "tenant") continue;
      // All were evaluated under one policy, but the limits of two actions may differ.
      const key = `${sliceKey(limit)} ${limit.limitMicroUsd}`;
      const known = wanted.get(key) ?? { limit, sum: 0 };
      known.sum += estimateMicroUsd;
      wanted.set(key, known);
    }
  }
  return [...wanted.values()].every(({ limit, sum }) => sum <= MOST_SPENT && isCovered(shares, limit, microUsdOf(sum)));
}

const sharesAnything = ({ evaluation }: Ask): boolean =>
  evaluation?.kind === "findings" &&
  (evaluation.findings.budgets.some(({ scope }) => scope === "agent" || scope === "tenant") ||
    evaluation.findings.rates.some((rate) => sharedRate(rate) !== null));
