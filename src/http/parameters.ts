import * as z from "zod";
import { type IdPrefix, isId } from "../core/ids.ts";
import { EXAMPLE_IDS } from "./fields.ts";

interface Parameter<T> {
  /** `null`: nothing has such a name, so the answer is `not_found`. */
  parse(text: string): T | null;
  readonly schema: z.ZodType;
  readonly description: string;
  readonly example: string | number;
}

const idParameter = <P extends IdPrefix>(prefix: P, description: string) =>
  ({
    parse: (text: string) => (isId(prefix, text) ? text : null),
    schema: z.string(),
    description,
    example: EXAMPLE_IDS[prefix],
  }) satisfies Parameter<string>;

/** The parameters of paths, by name. The same name means the same thing everywhere. */
export const PARAMETERS = {
  session: idParameter("ses", "The session's id."),
  run: idParameter("run", "The run's id."),
  decision: idParameter("dec", "The decision's id."),
  approval: idParameter("apr", "The approval's id."),
  lease: idParameter("lse", "The client lease's id."),
  token: idParameter("tok", "The token's id."),
  entry: idParameter("ent", "The entry's id."),
  webhook: idParameter("whk", "The webhook's id."),
  delivery: idParameter("dlv", "The delivery's id: the `webhook-id` of its attempts."),
  name: {
    parse: (text: string) => (text.length <= 128 ? text : null),
    schema: z.string().min(1).max(128),
    description: "The policy's name: 1 to 128 letters, digits or _ - . of which the first is a letter or a digit.",
    example: "support-bots",
  },
  type: {
    parse: (text: string) => text,
    schema: z.string().min(1).max(128),
    description: "What the entity is: 1 to 128 characters without control characters, percent-encoded.",
    example: "agent",
  },
  id: {
    parse: (text: string) => text,
    schema: z.string().min(1).max(512),
    description: "Which one it is: 1 to 512 characters without control characters, percent-encoded.",
    example: "support-1",
  },
  version: {
    parse: (text: string) => (/^[1-9]\d{0,8}$/.test(text) ? Number(text) : null),
    schema: z.int().min(1),
    description: "The version's number, from 1.",
    example: 3,
  },
} as const satisfies { readonly [name: string]: Parameter<string | number> };

export const isParameter = (name: string): name is keyof typeof PARAMETERS => Object.hasOwn(PARAMETERS, name);
