import type { Redaction } from "../core/redact.ts";
import { type Refusal, refusal } from "../core/refusals.ts";
import type { Principal } from "../core/request.ts";
import { err, ok, type Result } from "../core/result.ts";
import { type Line, type Testimony, testimonyOf } from "../core/testimony.ts";
import { fingerprintOf, type IdempotencyKey } from "./idempotency.ts";
import type { Answered, Ports, Reply, Report, Taken } from "./ports.ts";

/** Lines of so many different agents may be told at once: what the policy hides is asked for each. */
export const MOST_AGENTS_AT_ONCE = 100;
/** So many are asked for at the same time. */
const ASKED_AT_ONCE = 10;

export interface Ingested {
  readonly accepted: number;
  readonly duplicates: number;
  /** By the lines' places, in order. */
  readonly rejected: readonly { readonly index: number; readonly refusal: Refusal }[];
}

/**
 * Puts what an engine elsewhere recorded on record here. Testimony: nothing is decided, no budget and no window moves. A line that cannot be taken is
 * refused alone. The same lines may be told again, also when no answer came; with the same key they get the same answer.
 */
export async function ingest(
  ports: Ports,
  reporter: Principal,
  lines: readonly Result<Line, Refusal>[],
  idempotencyKey: IdempotencyKey,
): Reply<Answered<Ingested>> {
  const own = lines.map((line) => (line.ok ? ofReporter(reporter, line.value) : line));
  const sound = own.flatMap((line, index) => (line.ok ? [{ index, line: line.value }] : []));
  const hidden = await redactionsFor(ports, reporter.tenant, new Set(sound.map(({ line }) => line.agent)));
  if (!hidden.ok) return hidden;
  const told = sound.map(({ line }): Testimony => testimonyOf(ports.sha256, reporter, line, hidden.value.get(line.agent)));
  const key: Report["key"] =
    idempotencyKey === null ? null : { key: `${reporter.kind} ${reporter.subject} ${idempotencyKey}`, fingerprint: fingerprintOf(ports, lines) };
  // Of a report of which nothing can be taken only its key is worth knowing.
  const taken = told.length === 0 && key === null ? NOTHING_TAKEN : await ports.ledger.ingest(reporter.tenant, { lines: told, key });
  if (!taken.ok) return taken;
  const { answer, replayed } = taken.value;
  const count = (wanted: Taken): number => answer.filter((one) => one === wanted).length;
  const untaken = sound.flatMap(({ index }, place) => {
    const refused = refusalOf(answer[place]);
    return refused === null ? [] : [{ index, refusal: refused }];
  });
  const faulty = own.flatMap((line, index) => (line.ok ? [] : [{ index, refusal: line.error }]));
  return ok({
    answer: {
      accepted: count("recorded"),
      duplicates: count("known"),
      rejected: [...faulty, ...untaken].sort((a, b) => a.index - b.index),
    },
    replayed,
  });
}

const NOTHING_TAKEN = ok<Answered<readonly Taken[]>>({ answer: [], replayed: false });

/** An agent reports what it did itself. Whoever keeps the record of several says whose each line is. */
function ofReporter(reporter: Principal, line: Line): Result<Line, Refusal> {
  if (reporter.kind !== "agent" || line.agent === reporter.subject) return ok(line);
  if (line.agent === null) return ok({ ...line, agent: reporter.subject });
  return err(
    refusal("not_your_session", "A token of kind agent reports what its own subject did only.", [
      { pointer: "/agent_id", message: "is another agent; wanted the token's subject, or nothing" },
    ]),
  );
}

async function redactionsFor(
  ports: Ports,
  tenant: string,
  agents: ReadonlySet<string | null>,
): Reply<ReadonlyMap<string | null, Redaction | null | undefined>> {
  if (agents.size > MOST_AGENTS_AT_ONCE) {
    const message = `have ${agents.size} different agents; wanted at most ${MOST_AGENTS_AT_ONCE} in one request`;
    return err(refusal("body_invalid", `The body is not valid: /entries ${message}.`, [{ pointer: "/entries", message }]));
  }
  const found = new Map<string | null, Redaction | null | undefined>();
  const all = [...agents];
  for (let from = 0; from < all.length; from += ASKED_AT_ONCE) {
    const some = all.slice(from, from + ASKED_AT_ONCE);
    const redactions = await Promise.all(some.map((agent) => ports.policies.redactionFor(tenant, agent)));
    for (const [place, redaction] of redactions.entries()) {
      if (!redaction.ok) return redaction;
      found.set(some[place] ?? null, redaction.value);
    }
  }
  return ok(found);
}

function refusalOf(taken: Taken | undefined): Refusal | null {
  switch (taken) {
    case "recorded":
    case "known":
      return null;
    case "other":
      return refusal("idempotency_mismatch", "Another entry was reported under this id.", [{ pointer: "/id", message: "names another entry" }]);
    case "too_large":
    case undefined:
      return refusal("body_too_large", "The entry is larger than the record can keep.");
  }
}
