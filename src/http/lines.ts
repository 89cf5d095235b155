import * as z from "zod";
import type { IngestEntry } from "../../sdk/src/wire.ts";
import { type Digest, isDigest } from "../core/digest.ts";
import type { JsonValue } from "../core/json.ts";
import { type MicroUsd, parseReportedUsd, ZERO_USD } from "../core/money.ts";
import type { PolicyRef } from "../core/policy/findings.ts";
import { REASONS } from "../core/reasons.ts";
import { type Refusal, refusal } from "../core/refusals.ts";
import { err, ok, type Result } from "../core/result.ts";
import type { Line } from "../core/testimony.ts";
import { json, oneLine, usd } from "./fields.ts";
import { found, parseWith } from "./issues.ts";
import { Unclear } from "./json.ts";

/** Of one entry, as JSON. */
export const MOST_ENTRY_BYTES = 256 * 1024;

const name = (most: number) => oneLine(most).nullish();

/** An amount as its reporter counted it, which may have been in floating point. */
const reportedUsd = z
  .unknown()
  .transform((input, ctx): MicroUsd => {
    const parsed = parseReportedUsd(input);
    if (parsed.ok) return parsed.value;
    ctx.addIssue({ code: "custom", input, message: parsed.error.message });
    return z.NEVER;
  })
  .meta({ ...usd.meta(), description: "USD. Of a number more than six decimals are rounded up; it is also kept as it was sent." });

const durationMs = z.number({ error: (issue) => found(issue.input, "a number of milliseconds, not negative") }).min(0);

/** What is read of an entry. Whatever else it has is kept. */
const line = z.looseObject({
  id: oneLine(128).meta({ description: "Made by whoever wrote the entry, one for each. With the agent it names the entry for ever." }),
  action: oneLine(256).meta({
    description:
      "A name of a function, in any letters, and not only what an action that is decided here may be called. What nobody sees in it is read as U+FFFD; as it was told it stands in the entry's details.",
  }),
  timestamp: z.string().max(64).nullish().meta({ description: "When its writer says it was; kept beside the gateway's own instant." }),
  cost_usd: reportedUsd.nullish(),
  duration_ms: durationMs.nullish(),
  outcome: z.string().max(64).nullish().meta({ description: "`success` and `error` can be asked for; any other is kept." }),
  tags: z.array(oneLine(128)).max(64).nullish(),
  payload: z.looseObject({ inputs: json.optional(), outputs: json.optional() }).nullish(),
  agent_id: name(255).meta({
    description: "Whose it is. A token of kind agent can name its own subject only, which is also what is taken without one.",
  }),
  run_id: name(255),
  session_id: name(255),
  decision_id: name(128).meta({
    description: "Where the gateway has posted costs of the same decision, these are counted as its own and not twice.",
  }),
  verdict: z.enum(["allow", "deny", "hold"]).nullish(),
  reason: z
    .unknown()
    .optional()
    .meta({ description: "Why. One of the codes of this API is the entry's own `reason`; anything else stands in its details alone." }),
  rule: z.unknown().optional().meta({ description: "Where in the policy the rule stands that decided, as of decisions here." }),
  policy: z.unknown().optional().meta({ description: "Under which policy: `name`, `version` and `digest`, as of decisions here." }),
  estimate_usd: reportedUsd.nullish(),
  parents: z.array(oneLine(128)).max(64).nullish(),
  unguarded: z.boolean().nullish().meta({ description: "It ran although no gateway could be asked." }),
});

/** An entry by itself: what is wrong with it is told of it, and stands in no other's way. */
export const ingestEntry = (z.unknown() as z.ZodType<IngestEntry, IngestEntry>)
  .transform((input: unknown): Result<Line, Refusal> => lineOf(input))
  .meta(z.toJSONSchema(line, { io: "input", target: "draft-2020-12" }));

/**
 * What nobody sees, or what looks like a blank and is none, could make one name look like another wherever names are listed. It is no reason to lose the
 * line: it tells of what has happened.
 */
const HIDDEN = /(?! )[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Z}\p{Default_Ignorable_Code_Point}\u2800]/gu;

function lineOf(input: unknown): Result<Line, Refusal> {
  if (input instanceof Unclear) return err(refusal("body_malformed", `The entry is not unambiguous JSON: ${input.message}.`, [input]));
  const read = parseWith(line, input, "entry");
  if (!read.ok) return read;
  const bytes = sizeOf(input);
  if (bytes > MOST_ENTRY_BYTES) return err(refusal("body_too_large", `The entry has ${bytes} bytes of JSON; wanted at most ${MOST_ENTRY_BYTES}.`));
  const { id, action, outcome, verdict } = read.value;
  return ok({
    id,
    action: action.replaceAll(HIDDEN, "\ufffd"),
    agent: read.value.agent_id ?? null,
    run: read.value.run_id ?? null,
    session: read.value.session_id ?? null,
    decision: read.value.decision_id ?? null,
    verdict: verdict ?? null,
    reason: REASONS.find((known) => known === read.value.reason) ?? null,
    rule: ruleOf(read.value.rule),
    policy: policyOf(read.value.policy),
    outcome: outcome === "success" || outcome === "error" ? outcome : null,
    tags: read.value.tags ?? [],
    parents: read.value.parents ?? [],
    costMicroUsd: read.value.cost_usd ?? ZERO_USD,
    estimateMicroUsd: read.value.estimate_usd ?? null,
    durationMs: read.value.duration_ms ?? null,
    isUnguarded: read.value.unguarded === true,
    // The schema has found an object, and JSON.parse made it. Not zod's copy: that leaves out a member called `__proto__`.
    told: input as { readonly [member: string]: JsonValue },
  });
}

const MOST_RULE_CHARACTERS = 1024;

/** Why it was decided so is said in many ways, and none is a reason to lose the line: what has the shape that decisions here have is the entry's. */
const ruleOf = (told: unknown): string | null =>
  typeof told === "string" && told.length <= MOST_RULE_CHARACTERS ? told.replaceAll(HIDDEN, "\ufffd") : null;

function policyOf(told: unknown): PolicyRef | null {
  const read = policyTold.safeParse(told);
  return read.success ? { ...read.data, name: read.data.name.replaceAll(HIDDEN, "\ufffd") } : null;
}

const policyTold = z.object({
  name: z.string().min(1).max(255),
  version: z.int().min(0),
  digest: z.custom<Digest>((text) => typeof text === "string" && isDigest(text)),
});

/** A character is at most three octets, so that most texts need no count. */
function sizeOf(input: unknown): number {
  const text = JSON.stringify(input);
  return text.length * 3 <= MOST_ENTRY_BYTES ? text.length : new TextEncoder().encode(text).length;
}
