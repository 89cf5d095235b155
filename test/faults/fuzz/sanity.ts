import { ask, type Gateway } from "./gateway.ts";

/**
 * A tenant that no hostile request names. Whatever is sent to the gateway beside it, its money is counted to the last micro-dollar: that is looked at
 * before, in between and afterwards.
 */
export interface Sanity {
  /** Opens a session, spends in it and reads it back. Throws with a sentence where anything is not exact. */
  check(): Promise<void>;
}

const POLICY = "budgets: { session: 1 }\ndenied_actions: [delete_database]\n";

export async function openSanity(gateway: Gateway): Promise<Sanity> {
  const tenant = "sanity";
  await ask(gateway, gateway.rootKey, "POST", "/v1/tenants", 201, { id: tenant });
  const issue = async (subject: string, kind: string, scopes: readonly string[]): Promise<string> =>
    (await ask(gateway, gateway.rootKey, "POST", "/v1/tokens", 201, { tenant, subject, kind, scopes })).token;
  const operator = await issue("operator", "human", ["policies:write"]);
  const agent = await issue("bot", "agent", ["sessions:write", "decisions:write", "ledger:read"]);
  await ask(gateway, operator, "PUT", "/v1/policies/base", 201, POLICY, "application/yaml");
  const open = async (): Promise<string> => (await ask(gateway, agent, "POST", "/v1/sessions", 201, {})).id;
  const decide = (session: string, action: string, estimate_usd: string) =>
    ask(gateway, agent, "POST", `/v1/sessions/${session}/decisions`, 200, { action, estimate_usd, ttl_ms: 86_400_000 });
  const wants = (what: string, found: unknown, wanted: unknown): void => {
    if (JSON.stringify(found) !== JSON.stringify(wanted))
      throw new Error(`The sanity session is not exact: ${what} is ${JSON.stringify(found)}, wanted ${JSON.stringify(wanted)}.`);
  };

  // One session lives through all of it, with a balance that nobody may touch; what is reserved in it outlives the longest run.
  const lasting = await open();
  wants("the lasting session's first verdict", (await decide(lasting, "search", "0.9")).verdict, "allow");

  return {
    async check() {
      const session = await open();
      const asked = await Promise.all(Array.from({ length: 8 }, () => decide(session, "search", "0.18")));
      const allowed = asked.filter(({ verdict }) => verdict === "allow");
      wants("the number of allowed attempts of 0.18 at 1", allowed.length, 5);
      wants(
        "the reason of the others",
        [...new Set(asked.filter(({ verdict }) => verdict !== "allow").map(({ reason }) => reason.code))],
        ["session_budget_exceeded"],
      );
      wants("the verdict on a denied action", (await decide(session, "delete_database", "0")).reason.code, "action_denied");
      const [first, second] = allowed;
      await ask(gateway, agent, "POST", `/v1/sessions/${session}/decisions/${first.id}/commit`, 200, { cost_usd: "0.123456", outcome: "success" });
      await ask(gateway, agent, "POST", `/v1/sessions/${session}/decisions/${second.id}/release`, 200, {});
      const balance = async (of: string) => {
        const { budgets } = await ask(gateway, agent, "GET", `/v1/sessions/${of}`, 200);
        const { posted_usd, pending_usd, remaining_usd } = budgets.find(({ scope }: { scope: string }) => scope === "session");
        return { posted_usd, pending_usd, remaining_usd };
      };
      wants("the balance", await balance(session), { posted_usd: "0.123456", pending_usd: "0.54", remaining_usd: "0.336544" });
      wants("the verdict on all that is left", (await decide(session, "search", "0.336544")).verdict, "allow");
      wants("the verdict on a micro-dollar more", (await decide(session, "search", "0.000001")).verdict, "deny");
      const { items } = await ask(gateway, agent, "GET", `/v1/ledger?session=${session}&kind=decision`, 200);
      wants("the number of recorded decisions", items.length, 11);
      wants("the lasting session's balance", await balance(lasting), { posted_usd: "0", pending_usd: "0.9", remaining_usd: "0.1" });
    },
  };
}
