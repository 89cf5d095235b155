import { NO_LINKS, type PersonsAnswer } from "../core/approvals.ts";
import type { ApprovalId } from "../core/ids.ts";
import type { Refusal } from "../core/refusals.ts";
import type { Principal } from "../core/request.ts";
import { err, ok, type Result } from "../core/result.ts";
import type { Scope } from "../core/scopes.ts";
import type { Answered, ApprovalRead, Ports, Reply } from "./ports.ts";

/** An approval as its session has it: a person who reads it has seen it, and that is on record. */
export async function readApproval(ports: Ports, principal: Principal, id: ApprovalId): Reply<ApprovalRead> {
  const stands = await linkStands(ports, principal);
  if (!stands.ok) return stands;
  const found = await ports.tenants.findApproval(principal.tenant, id);
  return found.ok ? ports.sessions.readApproval(principal.tenant, found.value.session, principal, id) : found;
}

/** Takes a person's answer to its session, which alone says what it is worth. A yes or a no that was taken is the end of the link it came by. */
export async function answerApproval(
  ports: Ports,
  principal: Principal,
  scopes: readonly Scope[],
  id: ApprovalId,
  said: PersonsAnswer,
): Reply<Answered<ApprovalRead>> {
  const stands = await linkStands(ports, principal);
  if (!stands.ok) return stands;
  const found = await ports.tenants.findApproval(principal.tenant, id);
  if (!found.ok) return found;
  const by = { principal, scopes, owners: found.value.owners };
  const told = await ports.sessions.answerApproval(principal.tenant, found.value.session, { id, by, said });
  if (!told.ok || principal.only === undefined || said.decision === "request_info") return told;
  // Also of an answer that was taken before: that time the tenant may not have been reached.
  const ended = await ports.tenants.revokeToken(principal.tenant, principal, principal.tokenId);
  return ended.ok ? told : ended;
}

/** Whether the tenant still lets a link be used. Asked at every use, of the tenant itself: nothing that is remembered lets a link live on. */
async function linkStands(ports: Ports, { tenant, only }: Principal): Reply<null> {
  if (only === undefined) return ok(null);
  const settings = await ports.tenants.readSettings(tenant);
  if (!settings.ok) return settings;
  return settings.value.approvalLinks ? ok(null) : err(NO_LINKS);
}

/**
 * Takes answers to many approvals, each by itself: one that is refused stands in nobody's way. Those of one approval are taken in the order asked, and all
 * others at once: a person who clears a desk waits for the slowest session and not for all of them.
 */
export async function answerMany(
  ports: Ports,
  principal: Principal,
  scopes: readonly Scope[],
  answers: readonly (PersonsAnswer & { readonly id: ApprovalId })[],
): Promise<readonly { readonly id: ApprovalId; readonly told: Result<ApprovalRead, Refusal> }[]> {
  const last = new Map<ApprovalId, Promise<unknown>>();
  const told = await Promise.allSettled(
    answers.map(async ({ id, ...said }) => {
      const before = last.get(id);
      const answering = (async () => {
        await before?.catch(() => undefined);
        return answerApproval(ports, principal, scopes, id, said);
      })();
      last.set(id, answering);
      const answered = await answering;
      return { id, told: answered.ok ? ok(answered.value.answer) : err(answered.error) };
    }),
  );
  // A fault of ours is told when all of them are over: nothing goes on behind it.
  return told.map((one) => {
    if (one.status === "rejected") throw one.reason;
    return one.value;
  });
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
