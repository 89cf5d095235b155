import { describe, expect, it } from "vitest";
import type { PersonsAnswer } from "../../src/core/approvals.ts";
import { type ApprovalId, idFromDigest } from "../../src/core/ids.ts";
import { refusal } from "../../src/core/refusals.ts";
import type { Principal } from "../../src/core/request.ts";
import { err } from "../../src/core/result.ts";
import { answerMany } from "../../src/flow/approve.ts";
import { portsOf } from "./http_world.ts";
import { sha256 } from "./sha256.ts";

const ANN: Principal = { tokenId: idFromDigest("tok", sha256("ann")), tenant: "demo", subject: "ann", kind: "human" };
const A = idFromDigest("apr", sha256("a"));
const B = idFromDigest("apr", sha256("b"));
const C = idFromDigest("apr", sha256("c"));
const answer = (id: ApprovalId, note: string | null = null) =>
  ({ id, decision: "approve", digest: `sha-256:${sha256("asked")}`, note, edits: null }) as const satisfies PersonsAnswer & {
    id: ApprovalId;
  };

/** A session that tells when it begins with an answer, and goes on with it when it is let. */
function sitting() {
  const begun: string[] = [];
  const lets = new Map<string, { readonly go: () => void; readonly fail: (why: Error) => void }>();
  const session = portsOf().sessions;
  const ports = portsOf({
    sessions: {
      answerApproval: async (tenant, at, asked) => {
        const name = `${[A, B, C].indexOf(asked.id)} ${asked.said.note}`;
        begun.push(name);
        const { promise, resolve, reject } = Promise.withResolvers<void>();
        lets.set(name, { go: resolve, fail: reject });
        await promise;
        return asked.said.note === "no" ? err(refusal("approval_closed", "Not this one.")) : session.answerApproval(tenant, at, asked);
      },
    },
  });
  const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
  return { ports, begun, turn, let: (name: string) => lets.get(name) ?? expect.fail(`nobody began with ${name}`) };
}

describe("answers to many approvals", () => {
  it("are taken at once, those of one approval in the order asked, and told in that order", async () => {
    const { ports, begun, turn, let: lets } = sitting();
    const told = answerMany(ports, ANN, ["approvals:write"], [answer(A, "1"), answer(B, "no"), answer(A, "2"), answer(C, "4")]);
    await turn();
    expect(begun).toEqual(["0 1", "1 no", "2 4"]);
    lets("2 4").go();
    lets("1 no").go();
    await turn();
    expect(begun.length).toBe(3);
    lets("0 1").go();
    await turn();
    expect(begun[3]).toBe("0 2");
    lets("0 2").go();
    expect((await told).map(({ id, told: { ok } }) => [id, ok])).toEqual([
      [A, true],
      [B, false],
      [A, true],
      [C, true],
    ]);
  });

  it("of which one ends in a fault are all over before that is told, and the next to the same approval was asked all the same", async () => {
    const { ports, begun, turn, let: lets } = sitting();
    let isOver = false;
    const told = answerMany(ports, ANN, ["approvals:write"], [answer(A, "1"), answer(B, "2"), answer(A, "3")]).finally(() => {
      isOver = true;
    });
    await turn();
    lets("0 1").fail(new Error("the session is away"));
    await turn();
    expect([begun, isOver]).toEqual([["0 1", "1 2", "0 3"], false]);
    lets("1 2").go();
    await turn();
    expect(isOver).toBe(false);
    lets("0 3").go();
    await expect(told).rejects.toThrow("the session is away");
  });
});
