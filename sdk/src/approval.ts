import { json, list, nullable, object, type Read, ShapeFault, text } from "./read.ts";
import type { CallOptions, Json, Resource, UsdInput } from "./surface.ts";
import type { Ask } from "./transport.ts";

/** What a person made of a request. `null`: left as it was. Only what is sent exactly so is allowed. */
export interface Edits {
  readonly inputs: Json;
  readonly resource: Resource | null;
  readonly estimateUsd: UsdInput | null;
}

export interface ApprovalAnswer {
  readonly subject: string;
  /** `approve`, `reject`, `request_info`, `respond` or `cancel`. */
  readonly decision: string;
  readonly note: string | null;
  readonly at: string;
}

/** What an agent may want to know of an approval. */
export interface ApprovalNow {
  readonly id: string;
  /** `pending`, `info_requested`, `approved`, `rejected`, `expired`, `cancelled` or `consumed`. */
  readonly status: string;
  readonly expiresAt: string;
  readonly answers: readonly ApprovalAnswer[];
  readonly edits: Edits | null;
  /** The decision that it allowed. */
  readonly usedBy: string | null;
}

const money: Read<UsdInput> = (value, at) => (typeof value === "number" ? value : text(value, at));

const approvalNow: Read<ApprovalNow> = object<ApprovalNow>({
  id: text,
  status: text,
  expiresAt: text,
  answers: list(object<ApprovalAnswer>({ subject: text, decision: text, note: nullable(text), at: text })),
  edits: nullable(
    object<Edits>({
      inputs: nullable(json),
      resource: nullable(object<Resource>({ type: text, id: text })),
      estimateUsd: nullable(money),
    }),
  ),
  usedBy: nullable(text),
});

/** Reads an approval; with `verb`, does that to it first. Needs `approvals:read` to read, and `decisions:write` to respond or cancel. */
export const askApproval = (
  ask: Ask,
  id: string,
  { signal }: CallOptions = {},
  verb?: "respond" | "cancel",
  body: object = {},
): Promise<ApprovalNow> => {
  const path = `/v1/approvals/${id}`;
  const read: Read<ApprovalNow> = (value, at) => {
    const found = approvalNow(value, at);
    if (found.id !== id) throw new ShapeFault(`${at}/id`, "the one that was asked for");
    return found;
  };
  return verb === undefined
    ? ask({ what: `read ${id}`, path, read }, signal)
    : ask({ what: `${verb} ${id}`, path: `${path}/${verb}`, read, body }, signal);
};
