import { type MicroUsd, microUsdOf } from "../../src/core/money.ts";

/** One condition, in the words of every engine that is asked. */
export interface Condition {
  readonly ours: string;
  readonly cedar: string;
  readonly casbin: string;
}

/** What is asked, before any engine's own form of it. */
export interface Request {
  readonly team: string;
  readonly resource: { readonly owner: string; readonly tier: string };
  readonly inputs: { readonly env: string; readonly region: string; readonly amount: number; readonly to: string };
  readonly tags: readonly string[];
  readonly estimateMicroUsd: MicroUsd;
}

/** The action that every rule of the comparison names. */
export const ACTION = "deploy";

/** The n-th of the rules that forbid: five kinds in turn, each with names and limits of its own. */
export function conditionOf(n: number): Condition {
  const of = Math.floor(n / 5);
  switch (n % 5) {
    case 0:
      return {
        ours: `inputs.env == 'env${of}' && estimate_usd > 0.9`,
        cedar: `context.inputs.env == "env${of}" && context.estimate_micro_usd > 900000`,
        casbin: `r.inputs.env == 'env${of}' && r.estimate > 900000`,
      };
    case 1:
      return {
        ours: `resource.owner != subject.team && inputs.amount > ${9900 + of}`,
        cedar: `resource.owner != principal.team && context.inputs.amount > ${9900 + of}`,
        casbin: `r.resource.owner != r.subject.team && r.inputs.amount > ${9900 + of}`,
      };
    case 2:
      return {
        ours: `subject.team == 'team${of}' && resource.tier == 'gold' && inputs.amount >= 9000`,
        cedar: `principal.team == "team${of}" && resource.tier == "gold" && context.inputs.amount >= 9000`,
        casbin: `r.subject.team == 'team${of}' && r.resource.tier == 'gold' && r.inputs.amount >= 9000`,
      };
    case 3:
      return {
        ours: `'tag${of}' in tags && estimate_usd >= 0.8`,
        cedar: `context.tags.contains("tag${of}") && context.estimate_micro_usd >= 800000`,
        casbin: `r.tags.includes('tag${of}') && r.estimate >= 800000`,
      };
    default:
      return {
        ours: `inputs.to.endsWith('@corp${of}.example') && !(inputs.region == 'eu')`,
        cedar: `context.inputs.to like "*@corp${of}.example" && !(context.inputs.region == "eu")`,
        casbin: `r.inputs.to.endsWith('@corp${of}.example') && !(r.inputs.region == 'eu')`,
      };
  }
}

/** A stream of requests that all differ, the same in every run; about one in five meets some of the first hundred conditions. */
export function requestsOf(count: number): readonly Request[] {
  const random = mulberry32(20261122);
  const below = (most: number): number => Math.floor(random() * most);
  return Array.from({ length: count }, () => ({
    team: `team${below(80)}`,
    resource: { owner: `team${below(80)}`, tier: below(2) === 0 ? "gold" : "silver" },
    inputs: { env: `env${below(40)}`, region: below(3) === 0 ? "us" : "eu", amount: below(10_000), to: `someone@corp${below(80)}.example` },
    tags: [`tag${below(60)}`, `tag${below(60)}`],
    estimateMicroUsd: microUsdOf(below(1_000_000)),
  }));
}

/** A small generator of numbers from 0 to 1, by its seed. */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
