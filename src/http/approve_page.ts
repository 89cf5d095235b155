import type { Sha256 } from "../core/digest.ts";
import { sourceOf } from "./source_hash.ts";

/** The page on which one person answers one approval by a link. The same for everybody: what it shows it asks for with the token behind `#`. */
export interface ApprovePage {
  readonly text: string;
  readonly headers: { readonly [name: string]: string };
}

/**
 * The page and what it may do, which its browser keeps: run this one script, be styled by this one sheet, ask this gateway, and nothing else. Texts of
 * agents are shown as text only: the browser is told to refuse any other way (Trusted Types).
 */
export function approvePage(sha256: Sha256): ApprovePage {
  const policy = [
    "default-src 'none'",
    `script-src '${sourceOf(sha256, SCRIPT)}'`,
    `style-src '${sourceOf(sha256, STYLE)}'`,
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ];
  return {
    text: PAGE,
    headers: {
      "Content-Security-Policy": policy.join("; "),
      "Referrer-Policy": "no-referrer",
      "Cross-Origin-Opener-Policy": "same-origin",
      "Cache-Control": "no-cache",
    },
  };
}

const STYLE = `
:root { color-scheme: light dark; --ink: light-dark(#1c2127, #dfe4ea); --quiet: light-dark(#5b6570, #98a3af); --line: light-dark(#c9d0d8, #3a434d); --ground: light-dark(#ffffff, #14181d); --raised: light-dark(#f5f7f9, #1b2027); --yes: light-dark(#1a7040, #6cca8f); --no: light-dark(#b3261e, #ff9b93); }
* { box-sizing: border-box; }
body { margin: 0; font: 17px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); }
main { max-width: 44rem; margin: 0 auto; padding: 0 1rem 2rem; }
.head { padding: .75rem 0 .5rem; background: var(--ground); }
.who { margin: 0; font-size: .85rem; color: var(--quiet); }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .6rem; overflow-wrap: anywhere; }
[hidden] { display: none !important; }
#state { margin: 0; padding: .5rem .75rem; border: 1px solid var(--line); border-radius: .5rem; background: var(--raised); overflow-wrap: anywhere; }
dl { margin: .5rem 0; }
dt { font-size: .85rem; color: var(--quiet); }
dd { margin: 0 0 .5rem; overflow-wrap: anywhere; white-space: pre-wrap; unicode-bidi: isolate; }
dd.code { font: .9rem/1.5 ui-monospace, SFMono-Regular, Menlo, monospace; padding: .6rem .75rem; background: var(--raised); border-radius: .4rem; max-height: 24rem; overflow: auto; }
summary { min-height: 2rem; cursor: pointer; color: var(--quiet); }
label { display: block; margin: .6rem 0 .25rem; }
label.looked { display: flex; gap: .6rem; align-items: baseline; }
input { width: 1.1rem; height: 1.1rem; flex: none; }
textarea { width: 100%; min-height: 3.5rem; padding: .5rem; font: inherit; color: inherit; background: var(--ground); border: 1px solid var(--line); border-radius: .4rem; }
.choices { display: grid; gap: .75rem; margin-top: .75rem; }
button { font: inherit; font-weight: 600; min-height: 3rem; padding: .6rem 1rem; color: var(--ink); background: var(--raised); border: 2px solid var(--line); border-radius: .5rem; cursor: pointer; }
button:disabled { opacity: .5; cursor: not-allowed; }
:focus-visible { outline: 3px solid var(--ink); outline-offset: 2px; }
#state:focus { outline: none; }
#approve { border-color: var(--yes); }
#reject { border-color: var(--no); }
@media (min-width: 34rem) {
  .choices { grid-template-columns: 1fr 1fr 1fr; }
  dl { display: grid; grid-template-columns: 11rem minmax(0, 1fr); gap: .3rem 1rem; align-items: baseline; }
  dd { margin: 0; }
}
/* Whoever reads far down still sees what they answer, and what the page says of it; where there is no room for that, it scrolls away. */
@media (min-height: 40rem) {
  html { scroll-padding-top: 12rem; }
  .head { position: sticky; top: 0; max-height: 40vh; overflow: auto; }
}
`;

/** Runs in the browser as it stands here, so it keeps to what browsers have had for long. Every text that it shows goes through \`textContent\`. */
const SCRIPT = String.raw`
"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  let token = location.hash.slice(1);
  let shown = null;

  const linkOf = (jwt) => {
    if (jwt === "") return { wrong: "There is no link in this address: what follows # is missing." };
    try {
      const claims = JSON.parse(atob(jwt.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
      return typeof claims.apr === "string" ? { id: claims.apr } : { wrong: "This is no link to an approval: what follows # names no approval." };
    } catch {
      return { wrong: "The link was cut short or changed: what follows # cannot be read." };
    }
  };
  const { id, wrong } = linkOf(token);

  // What was answered in this tab, for whoever loads the page again. A browser that keeps nothing goes without.
  const keep = (answered) => {
    try {
      sessionStorage.setItem("answered " + id, JSON.stringify(answered));
    } catch {}
  };
  const keptOf = (approval) => {
    try {
      return told(JSON.parse(sessionStorage.getItem("answered " + approval)));
    } catch {
      return null;
    }
  };

  const say = (text) => { at("state").textContent = text; };
  const HIDDEN = /(?![\n\t ])[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Z}\p{Default_Ignorable_Code_Point}\u2800]/gu;
  const numbered = (text) => "\\u" + text.charCodeAt(0).toString(16).padStart(4, "0");
  // Characters that nobody sees, or that look like a blank, could make one text look like another. Those beyond four digits are two.
  const plain = (text) => String(text).replace(HIDDEN, (found) => found.split("").map(numbered).join(""));
  // Of several texts that are shown below each other none may look like two.
  const line = (text) => text.replace(/[\n\t]/g, numbered);
  const json = (value) => JSON.stringify(value, null, 2);
  // Some languages write their times with blanks and marks that are made visible in everything that is shown.
  const local = (instant) => new Date(instant).toLocaleString().replace(/[\u061c\u200e\u200f]/g, "").replace(/\s/g, " ");
  const when = (instant) => local(instant) + " (" + instant + ")";
  const usd = (amount) => amount + " USD";
  // What a person edited is what is approved.
  const amountOf = ({ edits, estimate_usd }) => (edits === null || edits.estimate_usd === undefined ? estimate_usd : edits.estimate_usd);
  const named = (resource) => line(resource.type + " " + resource.id);

  // A run's and a session's name is its id, which stands among the ids.
  const balance = ({ scope, name, limit_usd, remaining_usd, window }) =>
    [scope, scope === "action" || scope === "agent" ? name : null, window].filter(Boolean).join(" ") + ": " + (remaining_usd === null || remaining_usd === undefined ? "no limit" : usd(remaining_usd) + " left of " + usd(limit_usd));

  const edited = ({ inputs, resource, estimate_usd }) =>
    [
      ...(inputs === undefined ? [] : ["Inputs: " + json(inputs)]),
      ...(resource === undefined ? [] : ["Resource: " + named(resource)]),
      ...(estimate_usd === undefined ? [] : ["Amount: " + usd(estimate_usd)]),
    ].join("\n");

  const answered = ({ subject, decision, note, at: instant }) =>
    when(instant) + ", " + line(subject + ": " + decision + (note === null ? "" : " \u201c" + note + "\u201d"));

  const words = (...all) => all.filter(Boolean).join(" ");
  const lines = (all) => (all.length === 0 ? null : all.map(line).join("\n"));

  const facts = (a) => [
    ["Agent", a.agent],
    ["On", a.resource === null ? null : named(a.resource)],
    ["With these inputs", a.inputs === null ? "none are shown" : json(a.inputs), "code"],
    ["A person changed this: it is what you approve", a.edits === null ? null : edited(a.edits), "code"],
    ["Why it waits for you", a.reason.message],
    ["Risk", a.risk_level],
    ["Tags", lines(a.tags)],
    ["Model", a.model === null ? null : line(words(a.model.provider, a.model.name, a.model.version))],
    ["The agent says why", a.rationale],
    ["How sure the agent says it is", a.confidence],
    ["The agent names as its sources", lines(a.sources.map((s) => words(s.source, s.version)))],
    ["Follows from", lines(a.parents)],
    ["Balances when it was asked", a.budgets.length === 0 ? null : a.budgets.map(balance).join("\n")],
    ["Who has approved", a.quorum.approved + " of " + a.quorum.needed],
    ["Four eyes", a.four_eyes ? "the agent's owner must not approve" : null],
    ["Said so far", a.answers.length === 0 ? null : a.answers.map(answered).join("\n")],
    ["Can be answered until", when(a.expires_at)],
  ];
  // For whoever compares: it is folded, so that the question and the answers are seen together.
  const ids = (a) => [
    ["What exactly you answer for", a.action_digest, "code"],
    ["Asked", when(a.opened_at) + " by " + a.requester.kind + " " + a.requester.subject],
    ["If nobody answers", a.on_expiry],
    ["Rule", a.rule],
    // Several that hold together (base@2+bot@1) have all their versions in the name.
    ["Policy", a.policy.name.includes("@") ? a.policy.name : a.policy.name + " version " + a.policy.version],
    ["Approval", a.id],
    ["Decision", a.decision_id],
    ["Run", a.run],
    ["Session", a.session],
  ];

  const show = (approval) => {
    shown = approval;
    at("question").textContent = plain(line(approval.action + ", " + usd(amountOf(approval))));
    list("facts", facts(approval));
    list("ids", ids(approval));
    at("asked").hidden = false;
    const isOpen = approval.status === "pending" || approval.status === "info_requested";
    offer(isOpen);
    return isOpen;
  };

  const list = (place, rows) =>
    at(place).replaceChildren(
      ...rows.filter(([, value]) => value !== null && value !== undefined).flatMap(([name, value, kind]) => {
        const term = document.createElement("dt");
        const detail = document.createElement("dd");
        term.textContent = name;
        detail.textContent = plain(value);
        if (kind !== undefined) detail.className = kind;
        return [term, detail];
      }),
    );

  const offer = (isOffered) => {
    at("answer").hidden = !isOffered;
    at("looked").checked = false;
    enable(isOffered);
  };
  const NOTHING_YET = "Nothing has been answered by you yet. ";
  const waiting = () => NOTHING_YET + (at("looked").checked ? "You can approve it now." : "Read it to the end, then choose.");

  // A no cannot be taken back, so that its first press only asks. Whatever else a person does takes that press back.
  let isNoAsked = false;
  const askNo = () => {
    isNoAsked = true;
    at("reject").textContent = "Press again to reject";
    // Not every browser does so by itself, and without it nobody would notice that it was left.
    at("reject").focus();
    say("Nothing is rejected yet. Press the same button again to reject it for good: the action will not run.");
  };
  const unaskNo = () => {
    if (!isNoAsked) return;
    isNoAsked = false;
    at("reject").textContent = "Reject";
    say(waiting());
  };

  const enable = (isEnabled) => {
    at("reject").disabled = at("request_info").disabled = !isEnabled;
    // There is no yes before a person has said that they looked.
    at("approve").disabled = !isEnabled || !at("looked").checked;
  };

  const ended = (how) => {
    offer(false);
    at("again").hidden = true;
    say(how);
  };
  const over = (why) => ended("This is over. " + why);

  const broken = (why) => ended(why + " Open the link exactly as it was sent.");

  const ENDED = {
    token_expired: "The link's time has run out. Nothing was answered by it just now.",
    token_revoked: "The link was used already, or taken back. What was answered is on record, and whoever sent the link can see it.",
  };

  const refused = (problem) => {
    const detail = plain(problem.detail || "The gateway refused it.");
    const kept = keptOf(id);
    if (problem.code === "token_invalid") broken("The link is not whole, or was not made here.");
    else if (problem.code === "token_revoked" && kept !== null) ended(kept);
    else if (ENDED[problem.code] !== undefined) over(ENDED[problem.code]);
    else if (problem.status === 429 || problem.status >= 500) later(detail);
    else if (problem.code === "approval_closed" || problem.code === "not_found" || problem.code === "scope_insufficient") over(detail);
    else {
      say("It was not taken. " + detail);
      at("again").hidden = false;
    }
  };
  const later = (detail) => {
    say("No answer came. " + detail + " Look again: if your answer was taken, it stands.");
    at("again").hidden = false;
    enable(shown !== null);
  };

  const ask = async (method, path, body) => {
    const headers = { Authorization: "Bearer " + token };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const init = { method, headers, cache: "no-store", credentials: "omit", redirect: "error" };
    const response = await fetch("/v1/approvals/" + id + path, body === undefined ? init : { ...init, body: JSON.stringify(body) });
    const told = await response.json();
    return response.ok ? { approval: told } : { problem: told };
  };

  const look = async () => {
    at("again").hidden = true;
    say("Asking what it is about \u2026");
    try {
      const { approval, problem } = await ask("GET", "");
      if (problem !== undefined) return refused(problem);
      if (show(approval)) say(waiting());
      else over("It is " + approval.status + ".");
    } catch {
      later("The gateway could not be reached.");
    }
  };

  const DONE = { approve: "You approved it: ", reject: "You rejected it, and it will not run: " };
  const told = ({ decision, action, amount, at: instant, more }) =>
    DONE[decision] + plain(line(action + ", " + usd(amount))) + ". It was answered at " + when(instant) + "." + (more > 0 ? " At that time " + more + " more had to approve." : "");

  const press = (decision, count) => {
    if (decision !== "reject") unaskNo();
    else if (!isNoAsked) return askNo();
    // The other half of a double click is no second press.
    else if (count > 1) return;
    answer(decision);
  };

  const answer = async (decision) => {
    const note = at("note").value.trim();
    if (decision === "request_info" && note === "") {
      say("Write into the note what you want to know.");
      at("note").focus();
      return;
    }
    unaskNo();
    enable(false);
    say("Sending your answer \u2026");
    try {
      const { approval, problem } = await ask("POST", "/decide", { decision, action_digest: shown.action_digest, ...(note === "" ? {} : { note }) });
      if (problem !== undefined) {
        enable(true);
        refused(problem);
        return refocus(decision);
      }
      show(approval);
      at("note").value = "";
      if (decision === "request_info") {
        say("Your question is on record, and the agent can answer it. This link goes on: look again later.");
        at("again").hidden = false;
        return refocus("again");
      }
      token = "";
      const { action, quorum, answers } = approval;
      const mine = answers.filter((one) => one.decision === decision).pop();
      const done = {
        decision,
        action,
        amount: amountOf(approval),
        at: mine === undefined ? new Date().toISOString() : mine.at,
        more: decision === "approve" ? quorum.needed - quorum.approved : 0,
      };
      keep(done);
      // The address shows nothing any more, and the tab knows what it showed.
      history.replaceState({ approval: id }, "", location.pathname);
      ended(told(done));
    } catch {
      later("The gateway could not be reached.");
    }
    refocus(decision);
  };
  // A button that was disabled or hidden meanwhile has lost the focus, and a keyboard would begin again at the top.
  const refocus = (place) => at(at("answer").hidden ? "state" : place).focus();

  for (const decision of ["approve", "request_info", "reject"]) {
    at(decision).addEventListener("click", (event) => press(decision, event.detail));
    // A key that is held down presses once.
    at(decision).addEventListener("keydown", (event) => {
      if (event.repeat && event.key !== "Tab") event.preventDefault();
      if (event.key === "Escape") unaskNo();
    });
  }
  at("reject").addEventListener("blur", unaskNo);
  at("looked").addEventListener("change", () => {
    unaskNo();
    enable(true);
    say(waiting());
  });
  at("again").addEventListener("click", () => look());
  addEventListener("hashchange", () => location.reload());
  const before = token === "" && history.state !== null ? keptOf(history.state.approval) : null;
  if (before !== null) ended(before);
  else if (wrong !== undefined) broken(wrong);
  else look();
})();
`;

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>AgentSentinel: an agent asks you</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<div class="head">
<p class="who">An agent asks before it acts</p>
<h1 id="question">An agent's question</h1>
<p id="state" role="status" tabindex="-1">This page needs scripts to show what is asked.</p>
</div>
<section id="asked" aria-label="What is asked" hidden>
<dl id="facts"></dl>
<details><summary>Digest and ids, to compare</summary><dl id="ids"></dl></details>
</section>
<section id="answer" aria-label="Your answer" hidden>
<label for="note">A note, for the record and the agent</label>
<textarea id="note" maxlength="8192" autocomplete="off"></textarea>
<label class="looked"><input id="looked" type="checkbox" autocomplete="off">I have read what is asked, and may approve it</label>
<div class="choices">
<button id="approve" type="button" disabled>Approve</button>
<button id="request_info" type="button" disabled>Ask for more</button>
<button id="reject" type="button" disabled>Reject</button>
</div>
</section>
<p><button id="again" type="button" hidden>Look again</button></p>
</main>
<script>${SCRIPT}</script>
</body>
</html>
`;
