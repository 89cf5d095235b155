/** What a test wants of some actions, as a policy says it. */
export class Script {
  readonly #denied = new Set<string>();
  readonly #held = new Set<string>();

  deny(glob: string): void {
    this.#denied.add(glob);
  }

  hold(glob: string): void {
    this.#held.add(glob);
  }

  /** Takes back what was scripted for this very name or glob. */
  allow(glob: string): void {
    this.#denied.delete(glob);
    this.#held.delete(glob);
  }

  /** A policy that says what another says, and this besides: a script only ever tightens. */
  over(policy: PolicyParts): PolicyParts {
    const { denied_actions = [], approvals } = policy;
    return {
      ...policy,
      ...(this.#denied.size > 0 && { denied_actions: [...new Set([...denied_actions, ...this.#denied])] }),
      ...(this.#held.size > 0 && { approvals: { ...approvals, actions: [...new Set([...(approvals?.actions ?? []), ...this.#held])] } }),
    };
  }
}

/** The sections of a policy's document that a script adds to. */
export interface PolicyParts {
  readonly denied_actions?: readonly string[];
  readonly approvals?: { readonly actions?: readonly string[] };
}
