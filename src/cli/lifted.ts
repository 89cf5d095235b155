import type { Intervened, InterveneRequest } from "../../sdk/src/wire.ts";
import { didYouMean } from "../http/issues.ts";
import { Stop, Usage } from "./command_line.ts";
import { type Gateway, isMapping } from "./gateway.ts";
import { plain, shown, type Terminal } from "./terminal.ts";

type Target = InterveneRequest["target"];

const LIFTS = { revive: "kill", resume: "pause" } as const;
const WAS = { kill: "killed", pause: "paused", revive: "revived", resume: "resumed" } as const;

/** So far back is looked, by interventions. */
const MOST_LOOKED_AT = 1000;
const PATIENCE_MS = 10_000;
const MOST_NAMED = 5;

/** A kill, a pause, or what lifted one, as the record has it. */
interface Order {
  readonly id: string;
  readonly kind: keyof typeof WAS;
  readonly target: Target;
  readonly at: string;
  readonly by: string;
  readonly note: string | null;
}

/**
 * Says, on standard error, what the evidence of a revive or a resume does not: that there was nothing to lift, and what still stops what was let go.
 * Whether nothing was ever stopped under that name: most likely it is mistyped, and what was meant is still stopped.
 */
export async function tellOfLift({ ask }: Gateway, told: Intervened, target: Target, kind: keyof typeof LIFTS, terminal: Terminal): Promise<boolean> {
  terminal.progress("Looking what else is in force …");
  try {
    const path = `/v1/interventions?kinds=kill,pause,revive,resume&limit=${MOST_LOOKED_AT}`;
    const { items, next_cursor: more } = await ask("GET", path, undefined, { patienceMs: PATIENCE_MS });
    if (!Array.isArray(items)) throw new Stop("what came is no list");
    const orders = items.flatMap(orderOf);
    // What came after it is not what it met.
    const before = orders.slice(orders.findIndex(({ id }) => id === told.id) + 1);
    const stood = standing(before);
    // An older gateway does not say what it lifted.
    const nothing = (told.lifted ?? 0) > 0 ? null : nothingLifted(before, stood, target, LIFTS[kind], more === null, told.lifted === 0);
    if (nothing !== null) terminal.err(`agentsentinel: ${nothing.sentence}\n`);
    for (const order of stood.filter((one) => stillStops(one, target, LIFTS[kind])).slice(0, MOST_NAMED)) {
      const note = order.note === null ? "" : `: ${shown(order.note)}`;
      terminal.err(
        `agentsentinel: still in force is the ${order.kind} of ${named(order.target)}, since ${plain(`${order.at} by ${order.by}`)}${note}\n`,
      );
    }
    return nothing?.isStranger ?? false;
  } catch (fault) {
    if (!(fault instanceof Stop) && !(fault instanceof Usage)) throw fault;
    terminal.err(`agentsentinel: what else is in force could not be looked up (${fault.message})\n`);
    return false;
  } finally {
    terminal.progress("");
  }
}

/** An item of the list; none where it is not what this program knows. */
function orderOf(item: unknown): readonly Order[] {
  if (!isMapping(item) || !isMapping(item.target)) return [];
  const { id, kind, at, by, note, target } = item;
  if (typeof kind !== "string" || !Object.hasOwn(WAS, kind)) return [];
  // It is one of them, as was just looked; and the gateway writes no target that it would not take.
  const order = { kind: kind as Order["kind"], target: { type: String(target.type), id: String(target.id) } as Target };
  return [
    { ...order, id: String(id), at: String(at), by: isMapping(by) ? String(by.subject) : "somebody", note: typeof note === "string" ? note : null },
  ];
}

const isSame = (a: Target, b: Target): boolean => a.type === b.type && a.id === b.id;
const named = ({ type, id }: Target): string => `${type} ${JSON.stringify(plain(id))}`;

/** The kills and pauses of a list, newest first, that nothing lifted: of each target the newest counts. */
function standing(orders: readonly Order[]): readonly Order[] {
  const seen = new Set<string>();
  return orders.filter(({ kind, target: { type, id } }) => {
    const lifted = kind === "revive" || kind === "resume" ? LIFTS[kind] : kind;
    const key = `${lifted} ${type} ${id}`;
    const isNewest = !seen.has(key);
    seen.add(key);
    return isNewest && lifted === kind;
  });
}

/**
 * What to say where nothing was there to lift; `null` where something was, or nobody knows, because the list is not `whole`. `isCertain`: the gateway says
 * that nothing was, also where by the list something stood: a session's or a run's stop ends with it, and no entry says so.
 */
function nothingLifted(
  before: readonly Order[],
  stood: readonly Order[],
  target: Target,
  stop: "kill" | "pause",
  whole: boolean,
  isCertain: boolean,
): { readonly sentence: string; readonly isStranger: boolean } | null {
  const last = before.find(
    ({ kind, target: other }) => isSame(other, target) && (kind === stop || (kind in LIFTS && LIFTS[kind as keyof typeof LIFTS] === stop)),
  );
  if (last?.kind === stop && isCertain)
    return { sentence: `${named(target)} was not ${WAS[stop]} any more, so nothing was lifted`, isStranger: false };
  if (last?.kind === stop || (last === undefined && !whole)) return null;
  if (last !== undefined)
    return {
      sentence: `${named(target)} was not ${WAS[stop]} any more: ${plain(`${last.by} ${WAS[last.kind]} it at ${last.at}`)}`,
      isStranger: false,
    };
  const stopped = stood.filter(({ kind }) => kind === stop).map(({ target: other }) => other);
  const near = didYouMean(
    target.id,
    stopped.filter(({ type }) => type === target.type).map(({ id }) => id),
  );
  const others = stopped.length === 0 ? `; nothing is ${WAS[stop]} here` : `; ${WAS[stop]} are ${stopped.slice(0, MOST_NAMED).map(named).join(", ")}`;
  return {
    sentence: `${named(target)} was not ${WAS[stop]}, so nothing was lifted${near.startsWith("; did") ? plain(near) : others}`,
    isStranger: true,
  };
}

/** Whether a stop that stands may stop what was let go: the same by the other button, or what is wider. Of single sessions and runs nobody asked. */
const stillStops = ({ kind, target }: Order, let_go: Target, stop: "kill" | "pause"): boolean =>
  isSame(target, let_go)
    ? kind !== stop
    : target.type === "tenant" || (target.type !== let_go.type && (target.type === "agent" || target.type === "action"));
