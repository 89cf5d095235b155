import type { PersonsAnswer } from "../core/approvals.ts";
import type { ApprovalId } from "../core/ids.ts";
import type { Refusal } from "../core/refusals.ts";
import type { Principal } from "../core/request.ts";
import { err, ok, type Result } from "../core/result.ts";
import type { Scope } from "../core/scopes.ts";
import type { Answered, ApprovalRead, Ports, Reply } from "./ports.ts";

/** An approval as its session has it: a person who reads it has seen it, and that is on record. */
export async function readApproval(ports: Ports, principal: Principal, id: ApprovalId): Reply<ApprovalRead> {
  const found = await ports.tenants.findApproval(principal.tenant, id);
  return found.ok ? ports.sessions.readApproval(principal.tenant, found.value.session, principal, id) : found;
}

/** Takes a person's answer to its session, which alone says what it is worth. */
export async function answerApproval(
  ports: Ports,
  principal: Principal,
  scopes: readonly Scope[],
  id: ApprovalId,
  said: PersonsAnswer,
): Reply<Answered<ApprovalRead>> {
  const found = await ports.tenants.findApproval(principal.tenant, id);
  if (!found.ok) return found;
  const by = { principal, scopes, owners: found.value.owners };
  return ports.sessions.answerApproval(principal.tenant, found.value.session, { id, by, said });
}

/** Takes answers to many approvals, each by itself: one that is refused stands in nobody's way. In the order asked. */
export async function answerMany(
  ports: Ports,
  principal: Principal,
  scopes: readonly Scope[],
  answers: readonly (PersonsAnswer & { readonly id: ApprovalId })[],
): Promise<readonly { readonly id: ApprovalId; readonly told: Result<ApprovalRead, Refusal> }[]> {
  const told: { id: ApprovalId; told: Result<ApprovalRead, Refusal> }[] = [];
  for (const { id, ...said } of answers) {
    const answered = await answerApproval(ports, principal, scopes, id, said);
    told.push({ id, told: answered.ok ? ok(answered.value.answer) : err(answered.error) });
  }
  return told;
}

export async function respondToApproval(ports: Ports, principal: Principal, id: ApprovalId, response: string): Reply<ApprovalRead> {
  const found = await ports.tenants.findApproval(principal.tenant, id);
  if (!found.ok) return found;
  const told = await ports.sessions.respondApproval(principal.tenant, found.value.session, principal, id, response);
  return told.ok ? ok(told.value.answer) : told;
}

export async function cancelApproval(
  ports: Ports,
  principal: Principal,
  scopes: readonly Scope[],
  id: ApprovalId,
  why: string | null,
): Reply<ApprovalRead> {
  const found = await ports.tenants.findApproval(principal.tenant, id);
  if (!found.ok) return found;
  const told = await ports.sessions.cancelApproval(principal.tenant, found.value.session, principal, id, scopes.includes("approvals:write"), why);
  return told.ok ? ok(told.value.answer) : told;
}
