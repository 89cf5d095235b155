import { forkBook } from "./book.ts";
import { type Ask, batchRefused, conclude, type Judgement, judge } from "./conclude.ts";
import type { Decision } from "./decision.ts";
import { openTurn, type Turn } from "./turn.ts";

export type BatchSemantics = "independent" | "all_or_nothing" | "stop_on_deny";

/** One member of a batch; `prior` is its recorded answer, should it have been asked before. */
export interface Member {
  readonly ask: Ask;
  readonly fingerprint: string;
  readonly prior: Decision | null;
}

/**
 * Decides members in order, each against what those before it took. `all_or_nothing`: unless every one is allowed, none is, and nothing is charged.
 * `stop_on_deny`: the answers end at the first that is denied, and what follows was never asked.
 */
export function decideAll(
  turn: Turn,
  members: readonly Member[],
  semantics: BatchSemantics,
): readonly { readonly answer: Decision; readonly replayed: boolean }[] {
  const judgements = semantics === "all_or_nothing" ? judgeTogether(turn, members) : null;
  const answers: { answer: Decision; replayed: boolean }[] = [];
  for (const [place, { ask, fingerprint, prior }] of members.entries()) {
    const answer = prior ?? conclude(turn, ask, judgements?.[place] ?? judge(turn.book, ask, turn.now), fingerprint);
    answers.push({ answer, replayed: prior !== null });
    if (semantics === "stop_on_deny" && answer.verdict === "deny") break;
  }
  return answers;
}

/** Tries the whole batch on a copy of the book; if any member is not allowed there, those that were are refused with it. */
function judgeTogether(turn: Turn, members: readonly Member[]): readonly (Judgement | null)[] {
  const trial = openTurn(forkBook(turn.book), turn.now, turn);
  let all = true;
  const judgements = members.map(({ ask, fingerprint, prior }) => {
    const judgement = prior === null ? judge(trial.book, ask, turn.now) : null;
    if (judgement !== null) conclude(trial, ask, judgement, fingerprint);
    all &&= (prior ?? judgement)?.verdict === "allow";
    return judgement;
  });
  return all ? judgements : judgements.map((judgement) => (judgement?.verdict === "allow" ? batchRefused(judgement) : judgement));
}
