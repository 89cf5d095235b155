import { type Cases, refused, type Stage, same, thrown, until } from "./check.ts";

/** What waits for a person: `@agentsentinel/sdk/approvals`. */

interface Shown {
  readonly action_digest: string;
  readonly status: string;
}

/** A person looks, and answers for what they saw. */
async function answer({ desk }: Stage, id: string, decision: "approve" | "reject" | "request_info", more: object = {}): Promise<void> {
  const { action_digest } = await desk<Shown>("GET", `/v1/approvals/${id}`);
  await desk("POST", `/v1/approvals/${id}/decide`, { decision, action_digest, ...more });
}

const waitingId = (opened: { readonly decisions: readonly { readonly approval: { readonly id: string } | null }[] }): string | undefined =>
  opened.decisions.find(({ approval }) => approval !== null)?.approval?.id;

const paying = { action: "send_money", costUsd: "0.03" };
const send = async (to: string): Promise<string> => `sent to ${to}`;

export const holding: Cases = {
  async "what is held goes on from JSON once it is approved, and only once"(stage) {
    const { session, sentinel } = await stage.open();
    const hold = await refused(stage, session.guard(paying, send)("ann"), "ApprovalRequiredError");
    const kept: string = JSON.stringify(hold);
    const early = await stage.approvals.resume(sentinel, JSON.parse(kept));
    await refused(stage, early.guard(paying, send)("ann"), "ApprovalRequiredError");
    await answer(stage, hold.approvalId, "approve");
    const held = await stage.approvals.resume(sentinel, JSON.parse(kept));
    same((await held.wait()).approval?.status, "approved");
    same(await held.guard(paying, send)("ann"), "sent to ann");
    await refused(stage, held.guard(paying, send)("ann"), "ApprovalRejectedError", "approval_consumed");
    return undefined;
  },

  async "a wait for which nobody answers ends with the question still open, however little time a single call has"(stage) {
    const { session } = await stage.open({ timeoutMs: 6_000, retries: 9 });
    const decision = await session.decide({ action: paying.action, estimateUsd: paying.costUsd });
    const startedAt = Date.now();
    const { state, approval } = await decision.wait({ timeoutMs: 1_500 });
    same([state, approval?.status, Date.now() - startedAt >= 1_490], ["held", "pending", true]);
    return undefined;
  },

  async "a guard that waits runs as soon as a person says yes"(stage) {
    const opened = await stage.open();
    const pay = stage.approvals.guard(opened.session, { ...paying, onHold: "wait" }, send);
    const paid = pay("ann");
    await until(() => waitingId(opened) !== undefined, "it is held");
    await answer(stage, waitingId(opened) ?? "", "approve");
    same(await paid, "sent to ann");
    return undefined;
  },

  async "a guard that waits does not run when a person says no, or its signal is aborted"(stage) {
    const opened = await stage.open();
    let runs = 0;
    const pay = stage.approvals.guard(opened.session, { ...paying, onHold: "wait" }, async () => runs++);
    const paid = refused(stage, pay(), "ApprovalRejectedError", "approval_rejected");
    await until(() => waitingId(opened) !== undefined, "it is held");
    await answer(stage, waitingId(opened) ?? "", "reject");
    await paid;

    const again = await stage.open();
    const controller = new AbortController();
    const { signal } = controller;
    const reason = new Error("mine");
    const given = thrown(stage.approvals.guard(again.session, { ...paying, onHold: "wait", signal }, async () => runs++)());
    await until(() => waitingId(again) !== undefined, "it is held");
    controller.abort(reason);
    same([(await given) === reason, runs], [true, 0]);
    return undefined;
  },

  async "what a person changed is what runs"(stage) {
    const opened = await stage.open();
    const pay = stage.approvals.guard(
      opened.session,
      { ...paying, onHold: "wait", inputs: (to) => ({ to }), toArguments: (inputs) => [String(Reflect.get(Object(inputs), "to"))] },
      send,
    );
    const paid = pay("ann");
    await until(() => waitingId(opened) !== undefined, "it is held");
    await answer(stage, waitingId(opened) ?? "", "approve", { edits: { inputs: { to: "bob" } } });
    same(await paid, "sent to bob");
    return undefined;
  },

  async "who was asked for more answers, and who no longer wants it takes it back"(stage) {
    const { session, sentinel } = await stage.open();
    const hold = await refused(stage, session.guard(paying, send)("ann"), "ApprovalRequiredError");
    const held = await stage.approvals.resume(sentinel, `${hold.session}/${hold.decisionId}`);
    await answer(stage, hold.approvalId, "request_info", { note: "What for?" });
    same((await held.wait()).approval?.status, "info_requested");
    same((await held.respond("The invoice of order 17.")).status, "pending");
    same((await held.cancel({ note: "Paid otherwise." })).status, "cancelled");
    same(
      (await held.read()).answers.map(({ decision, note }) => [decision, note]),
      [
        ["request_info", "What for?"],
        ["respond", "The invoice of order 17."],
        ["cancel", "Paid otherwise."],
      ],
    );
    await refused(stage, held.guard(paying, send)("ann"), "ApprovalRejectedError", "approval_rejected");
    return undefined;
  },

  async "a call with a name is one call, however often it is made"(stage) {
    const { session } = await stage.open();
    let runs = 0;
    const pay = stage.approvals.guard(session, { ...paying, callId: (_to, id) => id }, async (_to: string, _id: string) => ++runs);
    const first = await refused(stage, pay("ann", "toolu_1"), "ApprovalRequiredError");
    const again = await refused(stage, pay("ann", "toolu_1"), "ApprovalRequiredError");
    same(again.approvalId, first.approvalId);
    await answer(stage, first.approvalId, "approve");
    same(await pay("ann", "toolu_1"), 1);
    await refused(stage, pay("ann", "toolu_1"), "ApprovalRejectedError", "approval_consumed");
    same(runs, 1);
    return undefined;
  },
};
