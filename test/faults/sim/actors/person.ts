import type { Approval } from "../../../../src/core/approvals.ts";
import type { TokenId } from "../../../../src/core/ids.ts";
import { microUsdOf } from "../../../../src/core/money.ts";
import type { Principal } from "../../../../src/core/request.ts";
import { answerApproval, answerMany, cancelApproval, readApproval } from "../../../../src/flow/approve.ts";
import type { ApprovalRead } from "../../../../src/flow/ports.ts";
import type { Oracle } from "../oracle/oracle.ts";
import type { TenantModel } from "../oracle/tenant.ts";
import { demand } from "../oracle/violation.ts";
import type { Platform } from "../platform/platform.ts";
import { Actor } from "./actor.ts";
import { scopesOf } from "./policies.ts";

/** How often a person does what about something on the desk. */
const DOES = { approve: 12, edit: 1, reject: 1.5, ask: 2, cancel: 0.7, both: 2, stale: 1.5, again: 2, many: 6, pretend: 1 } as const;

type Said = Parameters<typeof answerApproval>[4];

/** Somebody at a tenant's desk: looks at what is asked, and answers; sometimes again, sometimes two things at once, sometimes something long changed. */
export class Person extends Actor {
  readonly #tenant: TenantModel;
  readonly #subject: string;
  readonly #restMs: number;
  /** What it was shown: digests as they were then. */
  readonly #shown: Approval["digest"][] = [];
  #last: { readonly read: ApprovalRead; readonly said: Said } | null = null;

  constructor(name: string, tenant: TenantModel, subject: string, restMs: number, platform: Platform, oracle: Oracle) {
    super(name, platform, oracle);
    this.#tenant = tenant;
    this.#subject = subject;
    this.#restMs = restMs;
  }

  protected async live(): Promise<void> {
    const { random } = this.world;
    while (!this.isStopped) {
      await this.pause(random.between(1, this.#restMs * 2));
      if (this.isStopped) return;
      const status = random.weighted({ pending: 6, info_requested: 1, approved: 1, any: 1 });
      const filter = status === "any" ? {} : { status };
      const listed = await this.ask(
        "list approvals",
        (ports) => ports.tenants.listApprovals(this.#tenant.id, filter, { limit: 10, cursor: null }),
        1,
      );
      if (listed?.ok !== true || listed.value.items.length === 0) continue;
      for (const one of listed.value.items) this.#demandKnown(one);
      await this.#act(random.pick(listed.value.items), listed.value.items);
    }
  }

  async #act(listed: ApprovalRead, all: readonly ApprovalRead[]): Promise<void> {
    const { random } = this.world;
    // Who does not look at it first goes by what the desk was told.
    const read = random.chance(0.8) ? await this.#look(listed) : listed;
    if (read === null) return;
    const { digest } = read.approval;
    const yes: Said = { decision: "approve", note: random.chance(0.5) ? "fine" : null, digest, edits: null };
    const no: Said = { ...yes, decision: "reject" };
    this.#shown.push(digest);
    if (this.#shown.length > 20) this.#shown.shift();
    switch (random.weighted(DOES)) {
      case "approve":
        return this.#answer(read, yes);
      case "edit": {
        const estimateMicroUsd = microUsdOf(random.between(0, read.approval.asked.estimateMicroUsd));
        return this.#answer(read, { ...yes, edits: { estimateMicroUsd, ...(random.chance(0.3) && { inputs: { n: random.between(0, 9) } }) } });
      }
      case "reject":
        return this.#answer(read, no);
      case "ask":
        return this.#answer(read, { ...yes, decision: "request_info" });
      case "cancel":
        return this.#cancel(read);
      case "both":
        await Promise.all([this.#answer(read, yes), this.#answer(read, random.chance(0.5) ? yes : no)]);
        return;
      case "stale":
        return this.#answer(read, { ...yes, digest: random.pick(this.#shown) });
      case "again":
        if (this.#last !== null) await this.#answer(this.#last.read, this.#last.said);
        return;
      case "many":
        return this.#answerAll(all.map((one) => ({ read: one, said: { ...yes, digest: one.approval.digest } })));
      case "pretend":
        return this.#pretend(read, yes);
    }
  }

  async #look({ approval: { id } }: ApprovalRead): Promise<ApprovalRead | null> {
    const read = await this.ask("look at an approval", (ports) => readApproval(ports, this.#principal(), id), 2);
    if (read?.ok !== true) return null;
    this.#heard(read.value, null);
    return read.value;
  }

  async #answer(read: ApprovalRead, said: Said): Promise<void> {
    this.#last = { read, said };
    const told = await this.ask(said.decision, (ports) => answerApproval(ports, this.#principal(), scopesOf(this.#subject), read.approval.id, said));
    if (told?.ok === true) this.#heard(told.value.answer, said);
    else if (told !== null) this.oracle.refused(told.error.code);
  }

  async #answerAll(answers: readonly { readonly read: ApprovalRead; readonly said: Said }[]): Promise<void> {
    const asked = answers.map(({ read, said }) => ({ ...said, id: read.approval.id }));
    const told = await this.ask("answer many", (ports) => answerMany(ports, this.#principal(), scopesOf(this.#subject), asked), 2);
    for (const [place, one] of (told ?? []).entries()) {
      const said = asked[place];
      if (one.told.ok && said !== undefined) this.#heard(one.told.value, said);
    }
  }

  async #cancel({ approval: { id } }: ApprovalRead): Promise<void> {
    const told = await this.ask("cancel", (ports) => cancelApproval(ports, this.#principal(), scopesOf(this.#subject), id, null));
    if (told?.ok !== true) return;
    this.#heard(told.value, null);
    this.oracle.check(() => demand(told.value.approval.status === "cancelled", "what is cancelled is cancelled", () => told.value));
  }

  /** An agent's own token, a service's, and a person of the agent's name: none of them answers. */
  async #pretend(read: ApprovalRead, said: Said): Promise<void> {
    const own = this.#principal();
    const who = this.world.random.pick<Principal>([
      { ...own, kind: "agent", subject: read.agent },
      { ...own, kind: "human", subject: read.agent },
      { ...own, kind: "service" },
    ]);
    const told = await this.ask("answer for another", (ports) => answerApproval(ports, who, scopesOf(this.#subject), read.approval.id, said), 2);
    this.oracle.check(() => demand(told?.ok !== true, "nobody but a person who did not ask answers", () => ({ who, told })));
  }

  #heard(read: ApprovalRead, said: Said | null): void {
    const answered = said === null ? null : { subject: this.#subject, decision: said.decision, digest: said.digest };
    this.oracle.check(() => this.#tenant.sessions.get(read.session)?.approvals.heard(read, answered));
  }

  /** What the desk shows was asked: to be behind is its right. */
  #demandKnown({ session, approval: { id } }: ApprovalRead): void {
    this.oracle.check(() => {
      const isKnown = this.#tenant.sessions.get(session)?.approvals.asked.has(id) === true;
      demand(isKnown, "a desk shows what was asked, and nothing else", () => ({ session, id }));
    });
  }

  #principal(): Principal {
    return { tokenId: TOKEN, tenant: this.#tenant.id, subject: this.#subject, kind: "human" };
  }
}

const TOKEN: TokenId = "tok_00000000-0000-7000-8000-000000000001";
