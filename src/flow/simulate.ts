import type { Digest } from "../core/digest.ts";
import type { SessionId } from "../core/ids.ts";
import { canonicalJson, type JsonValue } from "../core/json.ts";
import { agentRef } from "../core/policy/circumstances.ts";
import { compilePolicy } from "../core/policy/compile.ts";
import { policyDigest } from "../core/policy/digest.ts";
import type { PolicyDocument } from "../core/policy/document.ts";
import { type Layer, mergePolicies } from "../core/policy/merge.ts";
import { readPolicy } from "../core/policy/parse.ts";
import { openingOf, type Recorded, type RecordedOpening, readRecorded } from "../core/policy/recorded.ts";
import { type Candidate, looksAtStored, SessionSimulation, type Surroundings, Tally } from "../core/policy/simulate.ts";
import { type Refusal, refusal } from "../core/refusals.ts";
import { err, ok, type Result } from "../core/result.ts";
import type { Instant } from "../core/time.ts";
import type { EntityRef, LedgerFilter, LedgerRow, Ports, Reply } from "./ports.ts";
import { listEntries } from "./read_ledger.ts";

/** No further session is begun once so many entries were read. */
export const MOST_ENTRIES = 20_000;
/** Of one session at most so many entries are read; a longer one is cut there, and the answer says so. */
export const MOST_ENTRIES_OF_A_SESSION = 20_000;
export const MOST_SESSIONS = 200;
/**
 * Once stored attributes and older policies were asked for so many times, no further session is begun; and a single session that needs so many itself
 * is cut there. So one call makes fewer than twice as many.
 */
export const MOST_LOOKUPS = 200;
/**
 * Once conditions took so many steps, no further session is begun; and a single session that needs so many itself is cut there. What it costs to read an
 * entry is counted with them. About a second's work, and never twice as much.
 */
export const MOST_STEPS = 100_000_000;
/** After so many others have their turn. Counted, because in Workers no clock moves while something is worked on. */
const STEPS_IN_A_TURN = 4_000_000;
/** What `readEntities` answers at once. */
const MOST_READ = 16;
const PAGE = 200;
/** No session may be opened for longer: one that was opened so long before a window has ended before it. */
export const LONGEST_SESSION_MS = 30 * 24 * 60 * 60 * 1000;

/** What is asked: which candidate, and which part of the record. */
export interface Simulating {
  readonly tenant: string;
  readonly candidate: PolicyDocument;
  /** `null`: the candidate alone. Else the active policy in whose place it stands, beside the other active ones. */
  readonly replaces: string | null;
  /** Of the decisions that are compared; inclusive and exclusive. `null`: open. */
  readonly from: Instant | null;
  readonly to: Instant | null;
  readonly agent: string | null;
  readonly session: SessionId | null;
  /** The `next` of the part before. */
  readonly cursor: string | null;
}

export interface Simulated {
  readonly digest: Digest;
  readonly tally: Tally;
  /** Entries read, and sessions decided again. */
  readonly entries: number;
  readonly sessions: number;
  /** The oldest instant that was read; `null` when nothing was. */
  readonly readFrom: Instant | null;
  /** How much work it was, in steps of conditions. */
  readonly steps: number;
  /** Sessions too long, or with too much to look up or to evaluate, to be read to their end; with the last instant that was. */
  readonly cut: readonly { readonly session: SessionId; readonly through: Instant }[];
  /** Where to go on; `null`: this was all. */
  readonly next: string | null;
}

/**
 * Decides the recorded history again under a candidate, session by session, the latest opened first. Each session is read from its beginning, so that
 * balances and windows are those that it had; only what was asked within the window is compared. Sessions that had ended before the window are not
 * read: whatever they were asked later was denied because of that. The work of one call is bounded; the parts of a whole add up.
 * Refuses a cursor of another question (`body_invalid`), an unknown session or policy (`not_found`), another agent's session (`not_your_session`).
 */
export async function simulate(ports: Ports, asked: Simulating): Reply<Simulated> {
  const place = parseCursor(ports, asked);
  if (!place.ok) return place;
  const layers = await layersOf(ports, asked);
  if (!layers.ok) return layers;
  const { agent } = layers.value;

  const world = new World(ports, asked.tenant);
  const tally = new Tally();
  const cut: { session: SessionId; through: Instant }[] = [];
  const earliest = asked.from === null ? undefined : asked.from - LONGEST_SESSION_MS;
  const filter: LedgerFilter = {
    kind: "session",
    session: asked.session ?? undefined,
    agent: asked.session === null ? (agent ?? undefined) : undefined,
    from: earliest,
    to: asked.to ?? undefined,
  };
  let { page, after } = place.value;
  let found = false;
  for (let isFirst = true; ; isFirst = false) {
    const request = { limit: PAGE, cursor: page };
    const listed = isFirst ? await listEntries(ports, asked.tenant, filter, request) : await ports.ledger.list(asked.tenant, filter, request);
    if (!listed.ok) return listed;
    for (const row of listed.value.items) {
      // A page that is read again may begin with what was not there before.
      if (after !== null && row.index >= after) continue;
      world.entries++;
      const opening = openingIn(row);
      if (opening === null) continue;
      found = true;
      if (asked.session !== null && agent !== null && opening.agent !== agent) return err(NOT_YOURS);
      if (asked.from !== null && opening.expiresAt < asked.from) continue;
      const layered = await layers.value.candidateFor(opening.agent, world);
      if (!layered.ok) return layered;
      const done = await simulateSession(asked, layered.value, opening, tally, world, cut);
      if (!done.ok) return done;
      after = row.index;
      if (world.isSpent()) return ok(answer(cursorOf(ports, asked, { page, after })));
    }
    page = listed.value.nextCursor;
    if (page === null) break;
    if (world.isSpent()) return ok(answer(cursorOf(ports, asked, { page, after })));
  }
  if (asked.session !== null && !found && asked.cursor === null) return err(refusal("not_found", "There is no such session in the record."));
  return ok(answer(null));

  function answer(next: string | null): Simulated {
    const { entries, sessions, readFrom, steps } = world;
    return { digest: policyDigest(ports.sha256, asked.candidate), tally, entries, sessions, readFrom, steps, cut, next };
  }
}

const NOT_YOURS = refusal("not_your_session", "The session belongs to another agent.", [
  { pointer: "/session", message: "belongs to another agent" },
]);

async function simulateSession(
  asked: Simulating,
  candidate: Candidate,
  opening: RecordedOpening,
  tally: Tally,
  world: World,
  cut: { session: SessionId; through: Instant }[],
): Reply<null> {
  const { session } = opening;
  const simulation = new SessionSimulation(candidate, opening, asked.from, tally, world);
  world.beginSession();
  let read = 0;
  let last = opening.openedAt;
  let isCut = false;
  const reading = world.ports.ledger.export(asked.tenant, { session, to: asked.to ?? undefined })[Symbol.asyncIterator]();
  for (;;) {
    const next = await reading.next().catch(() => null);
    if (next === null) return err(refusal("ledger_unavailable", "The record is safe but cannot be read just now: the database does not answer."));
    if (next.done === true) break;
    const page = next.value;
    const recorded: Recorded[] = [];
    for (const row of page.slice(0, MOST_ENTRIES_OF_A_SESSION - read)) {
      const one = readRecorded(row);
      if (one !== null) recorded.push(one);
      await world.spend(STEPS_PER_ENTRY + row.canonical.length + (row.payload === null ? 0 : JSON.stringify(row.payload).length));
    }
    const known = recorded.slice(0, await world.learn(candidate, opening.agent, recorded));
    let seen = 0;
    for (const entry of known) {
      if (!(await world.spendAll(simulation.see(entry)))) break;
      last = entry.at;
      seen++;
    }
    read += page.length;
    if (read <= MOST_ENTRIES_OF_A_SESSION && seen === recorded.length) continue;
    isCut = true;
    await reading.return?.();
    break;
  }
  const isWhole = await world.spendAll(simulation.finish());
  if (isCut || !isWhole) cut.push({ session, through: last });
  world.entries += Math.min(read, MOST_ENTRIES_OF_A_SESSION);
  world.readFrom = Math.min(world.readFrom ?? opening.openedAt, opening.openedAt);
  return ok(null);
}

/** What it costs to read an entry whatever is in it. */
const STEPS_PER_ENTRY = 1_000;

/** What a simulation has learnt of the tenant, and how much work that was. */
class World implements Surroundings {
  readonly ports: Ports;
  readonly sha256: Ports["sha256"];
  entries = 0;
  sessions = 0;
  readFrom: Instant | null = null;
  readonly #tenant: string;
  readonly #attributes = new Map<string, { readonly [attribute: string]: JsonValue }>();
  readonly #keeping = new Map<Digest, ReturnType<Surroundings["keepingOf"]>>();
  #lookups = 0;
  /** How many look-ups there may have been when the present session is cut. */
  #most = MOST_LOOKUPS;
  steps = 0;
  #mostSteps = MOST_STEPS;
  #restedAt = 0;

  constructor(ports: Ports, tenant: string) {
    this.ports = ports;
    this.sha256 = ports.sha256;
    this.#tenant = tenant;
  }

  attributesOf(ref: EntityRef): { readonly [attribute: string]: JsonValue } {
    return this.#attributes.get(keyOf(ref)) ?? {};
  }

  keepingOf(digest: Digest): ReturnType<Surroundings["keepingOf"]> {
    return this.#keeping.get(digest) ?? null;
  }

  isSpent(): boolean {
    return this.entries >= MOST_ENTRIES || this.sessions >= MOST_SESSIONS || this.#lookups >= MOST_LOOKUPS || this.steps >= MOST_STEPS;
  }

  beginSession(): void {
    this.sessions++;
    this.#most = this.#lookups + MOST_LOOKUPS;
    this.#mostSteps = this.steps + MOST_STEPS;
  }

  /** Counts work that was done, and lets others have their turn when it was much. */
  spend(steps: number): Promise<void> | undefined {
    this.steps += steps;
    if (this.steps - this.#restedAt < STEPS_IN_A_TURN) return undefined;
    this.#restedAt = this.steps;
    return new Promise((resolve) => setTimeout(resolve, 0));
  }

  /** Does work piece by piece, each of which says what it was. `false`: it was left off, because the present session may need no more. */
  async spendAll(work: Iterable<number>): Promise<boolean> {
    for (const steps of work) {
      await this.spend(steps);
      if (this.steps >= this.#mostSteps) return false;
    }
    return true;
  }

  /**
   * Reads what deciding these entries again looks at and the record does not have. What cannot be read just now counts as not known. How many of the
   * entries can be decided with it: fewer than there are where more would have to be looked up than a session may.
   */
  async learn({ policy }: Candidate, agent: string, recorded: readonly Recorded[]): Promise<number> {
    const wanted = new Map<string, EntityRef>();
    const policies = new Map<Digest, { readonly name: string; readonly version: number }>();
    let known = 0;
    for (const one of recorded) {
      const { subject, resource } = looksAtStored(policy, one);
      const looked = [...(subject ? [agentRef(agent)] : []), ...(resource && one.entry.resource !== null ? [one.entry.resource] : [])];
      const refs = looked.filter((ref) => !this.#attributes.has(keyOf(ref)) && !wanted.has(keyOf(ref)));
      const under = one.entry.policy;
      // One merged of several is not kept by its name.
      const isNew = under !== null && !under.name.includes("+") && !this.#keeping.has(under.digest) && !policies.has(under.digest);
      const lookups = Math.ceil((wanted.size + refs.length) / MOST_READ) + policies.size + (isNew ? 1 : 0);
      if (this.#lookups + lookups > this.#most) break;
      for (const ref of refs) wanted.set(keyOf(ref), ref);
      if (isNew) policies.set(under.digest, under);
      known++;
    }
    const refs = [...wanted.values()];
    for (let from = 0; from < refs.length; from += MOST_READ) {
      const part = refs.slice(from, from + MOST_READ);
      this.#lookups++;
      const read = await this.ports.tenants.readEntities(this.#tenant, part);
      for (const [place, ref] of part.entries()) this.#attributes.set(keyOf(ref), (read.ok ? read.value.properties[place] : null) ?? {});
    }
    for (const [digest, { name, version }] of policies) this.#keeping.set(digest, await this.#readKeeping(name, version, digest));
    return known;
  }

  readPolicy(name: string, version: number): ReturnType<Ports["tenants"]["readPolicy"]> {
    this.#lookups++;
    return this.ports.tenants.readPolicy(this.#tenant, name, version);
  }

  /** What a policy of then keeps, also where it was deleted since. */
  async #readKeeping(name: string, version: number, digest: Digest): Promise<ReturnType<Surroundings["keepingOf"]>> {
    const found = await this.readPolicy(name, version);
    const read = found.ok && found.value.digest === digest ? readPolicy(found.value.document) : null;
    if (read?.ok !== true) return null;
    const { redact } = read.value;
    return { inputs: redact?.store_inputs ?? "full", outputs: redact?.store_outputs ?? "full" };
  }
}

const keyOf = ({ type, id }: EntityRef): string => JSON.stringify([type, id]);

interface Layers {
  /** Whose sessions the candidate is about; `null`: everybody's. */
  readonly agent: string | null;
  /** Reads what it needs of the other active policies once. Refuses where one cannot be read. */
  candidateFor(agent: string, world: World): Reply<Candidate>;
}

/** What would be in force for each agent. */
async function layersOf(ports: Ports, { tenant, candidate, replaces, agent }: Simulating): Reply<Layers> {
  const refOf = (document: PolicyDocument) => ({ name: document.name ?? "candidate", version: 1, digest: policyDigest(ports.sha256, document) });
  if (replaces === null) {
    const alone: Candidate = { policy: compilePolicy(candidate), ref: refOf(candidate) };
    return ok({ agent, candidateFor: async () => ok(alone) });
  }
  const others: { readonly name: string; readonly version: number; readonly target: string | null }[] = [];
  let replaced: { readonly target: string | null } | null = null;
  for (let cursor: string | null = null; ; ) {
    const rows = await ports.tenants.listPolicies(tenant, { limit: 1000, cursor });
    if (!rows.ok) return rows;
    for (const { name, target, activeVersion } of rows.value.items) {
      if (name === replaces) replaced = { target };
      if (name === replaces || activeVersion === null) continue;
      others.push({ name, version: activeVersion, target });
    }
    cursor = rows.value.nextCursor;
    if (cursor === null) break;
  }
  if (replaced === null) return err(refusal("not_found", `There is no policy "${replaces}" to be replaced.`));
  const { target } = replaced;
  if (target !== null && agent !== null && agent !== target) {
    const message = `is not the agent that "${replaces}" is for`;
    return err(refusal("body_invalid", `The body is not valid: /agent ${message}.`, [{ pointer: "/agent", message }]));
  }
  const compiled = new Map<string, Candidate>();
  const layers = new Map<string, Layer>();
  const agentsWithOwn = new Set(others.map((layer) => layer.target));
  return ok({
    agent: agent ?? target,
    candidateFor: async (agent, world) => {
      // Agents without policies of their own have the same one.
      const key = agentsWithOwn.has(agent) ? agent : "";
      const known = compiled.get(key);
      if (known !== undefined) return ok(known);
      const beside: Layer[] = [];
      for (const { name, version, target } of others) {
        if (target !== null && target !== agent) continue;
        const layer = layers.get(name) ?? (await layerOf(name, version, world));
        if ("code" in layer) return err(layer);
        layers.set(name, layer);
        beside.push(layer);
      }
      const { document } = mergePolicies([...beside, { name: replaces, version: 1, document: candidate }]);
      const made: Candidate = { policy: compilePolicy(document), ref: refOf(document) };
      compiled.set(key, made);
      return ok(made);
    },
  });
}

async function layerOf(name: string, version: number, world: World): Promise<Layer | Refusal> {
  const stored = await world.readPolicy(name, version);
  if (!stored.ok) return stored.error;
  const read = readPolicy(stored.value.document);
  return read.ok ? { name, version, document: read.value } : unreadable(name);
}

const unreadable = (name: string): Refusal =>
  refusal("policy_invalid", `The active policy "${name}" cannot be read by this gateway, so nothing can be said of what would be in force.`, [
    { pointer: "/replaces", message: `stands beside "${name}", which cannot be read` },
  ]);

function openingIn(row: LedgerRow): RecordedOpening | null {
  const recorded = readRecorded(row);
  return recorded === null ? null : openingOf(recorded);
}

/** Sessions from the page of this cursor on, and of them those opened before the one of this index. */
interface Place {
  readonly page: string | null;
  readonly after: number | null;
}

/** A cursor names the question that it belongs to: parts of different questions do not add up. */
const cursorOf = (ports: Ports, asked: Simulating, { page, after }: Place): string => `${after ?? ""}.${questionOf(ports, asked)}.${page ?? ""}`;

function parseCursor(ports: Ports, asked: Simulating): Result<Place, Refusal> {
  if (asked.cursor === null) return ok({ page: null, after: null });
  const match = /^(\d{0,15})\.([0-9a-f]{16})\.(.*)$/.exec(asked.cursor);
  if (match === null || match[2] !== questionOf(ports, asked)) {
    const message = "a cursor is the next of the part before, unchanged, and goes with the same question";
    return err(refusal("body_invalid", `The cursor cannot be read: ${message}.`, [{ pointer: "/cursor", message }]));
  }
  return ok({ page: match[3] === "" ? null : (match[3] ?? null), after: match[1] === "" ? null : Number(match[1]) });
}

const questionOf = (ports: Ports, { candidate, replaces, from, to, agent, session }: Simulating): string =>
  ports.sha256(canonicalJson([policyDigest(ports.sha256, candidate), replaces, from, to, agent, session])).slice(0, 16);
