import { spawn } from "node:child_process";
import path from "node:path";
import { assert, describe, expect, it } from "vitest";

const ROOT = path.join(import.meta.dirname, "../..");
const SIMULATION = path.join(ROOT, "test/faults/sim/sim.ts");

/** What the simulation says in the end, as JSON. */
interface Said {
  readonly ok: boolean;
  readonly seed: number;
  readonly steps?: number;
  readonly law?: string;
  readonly message?: string;
  readonly answers?: number;
  readonly allowed?: number;
  readonly used?: number;
  readonly ran?: number;
  readonly ran_leased?: number;
  readonly reported?: number;
  readonly digest?: string;
}

/** A process of its own: the simulation replaces the clock, the timers and the randomness of the one it runs in. */
function simulate(...flags: readonly string[]): Promise<Said> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["--no-warnings", SIMULATION, "--json", ...flags], { cwd: ROOT, stdio: ["ignore", "pipe", "inherit"] });
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (part: string) => {
      text += part;
    });
    child.on("error", reject);
    // Printed by the simulation, one line of JSON of this very type.
    child.on("close", () => (text === "" ? reject(new Error("the simulation said nothing")) : resolve(JSON.parse(text) as Said)));
  });
}

describe("a world in which everything fails", () => {
  // Other seeds, and many more steps, are for `npm run test:faults`.
  it.each([
    [3, 0, 20, 0],
    [30, 3, 10, 0],
    [13, 0, 30, 50],
  ])(
    "keeps every promise, from seed %i on, where %i approvals are used, %i guarded functions run and %i lines are reported, or more",
    {
      timeout: 120_000,
    },
    async (seed, used, ran, reported) => {
      const said = await simulate("--seed", String(seed), "--steps", "6000");
      expect(said, `node test/faults/sim/sim.ts --seed ${seed}`).toMatchObject({ ok: true });
      expect(said.answers).toBeGreaterThan(100);
      expect(said.allowed).toBeGreaterThan(20);
      expect(said.used).toBeGreaterThanOrEqual(used);
      expect(said.ran).toBeGreaterThanOrEqual(ran);
      expect(said.reported).toBeGreaterThanOrEqual(reported);
    },
  );

  it.each([
    [4, 20],
    [7, 20],
  ])("keeps every promise, from seed %i on, where %i functions or more run by a lease", { timeout: 120_000 }, async (seed, leased) => {
    const said = await simulate("--seed", String(seed), "--steps", "6000");
    expect(said, `node test/faults/sim/sim.ts --seed ${seed}`).toMatchObject({ ok: true });
    expect(said.ran_leased).toBeGreaterThanOrEqual(leased);
  });

  it("takes the same steps from the same seed", { timeout: 120_000 }, async () => {
    const world = ["--episode", "0", "--steps", "800"];
    const [once, again, other] = await Promise.all(["1", "1", "2"].map((seed) => simulate("--seed", seed, ...world)));
    assert(once !== undefined && again !== undefined && other !== undefined);
    expect(once).toMatchObject({ ok: true, digest: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect(again.digest).toBe(once.digest);
    expect(other.digest).not.toBe(once.digest);
  });
});

describe("the observers of that world", () => {
  it.each([
    ["loses_writes", 1_500],
    ["leaks_answers", 1_000],
    ["forgets_alarms", 16_000],
    ["loses_rows", 6_000],
  ])("notice a platform that %s, within %i steps", { timeout: 120_000 }, async (treachery, most) => {
    const said = await simulate("--seed", "3", "--steps", "2000", "--treachery", treachery);
    expect(said, `node test/faults/sim/sim.ts --seed 3 --treachery ${treachery}`).toMatchObject({ ok: false, episode: 0 });
    expect(said.steps).toBeLessThan(most);
  });

  it("say which treacheries there are when asked for another", { timeout: 60_000 }, async () => {
    expect(await simulate("--treachery", "never_rolls_back")).toMatchObject({ ok: false, message: expect.stringContaining("loses_writes") });
  });
});
