import { Directory } from "../../../../src/authority/directory.ts";
import { SessionAuthority } from "../../../../src/authority/session_authority.ts";
import { TenantAuthority } from "../../../../src/authority/tenant_authority.ts";
import type { Env } from "../../../../src/env.ts";
import type { Ports } from "../../../../src/flow/ports.ts";
import { TenantFeed } from "../../../../src/ledger/tenant_feed.ts";
import { TenantLedger } from "../../../../src/ledger/tenant_ledger.ts";
import { openPorts } from "../../../../src/ports.ts";
import type { Faults } from "../faults.ts";
import type { Random } from "../random.ts";
import { Database } from "./database.ts";
import { enter } from "./globals.ts";
import { Network } from "./network.ts";
import { ObjectHost, type Treachery, type Watch } from "./objects.ts";
import { Socket } from "./sockets.ts";
import { type Party, World } from "./world.ts";

const CLASSES = { SESSIONS: SessionAuthority, TENANTS: TenantAuthority, LEDGERS: TenantLedger, FEEDS: TenantFeed, DIRECTORY: Directory } as const;
export type Kind = keyof typeof CLASSES;

/** Where the stories of the Worker run. It remembers policies, and forgets them when it falls. */
export class Isolate implements Party {
  readonly name: string;
  offsetMs = 0;
  life = 0;
  ports: Ports;
  readonly #open: () => Ports;
  readonly #serving = new Set<() => void>();

  constructor(name: string, open: () => Ports) {
    this.name = name;
    this.#open = open;
    this.ports = open();
  }

  emit(send: () => void): void {
    send();
  }

  settle(): void {}

  setClock(offsetMs: number): void {
    this.offsetMs = offsetMs;
  }

  /** Whoever waits for an answer is told that it fell. */
  serve(fell: () => void): () => void {
    this.#serving.add(fell);
    return () => this.#serving.delete(fell);
  }

  crash(): void {
    this.life++;
    this.ports = this.#open();
    for (const fell of [...this.#serving]) fell();
    this.#serving.clear();
  }
}

/** What a client throws when it has heard nothing for as long as it waits. */
export class Unanswered extends Error {
  override readonly name = "Unanswered";
}

/** The simulated platform: every object that was ever called, the isolates, the database, and the network between them. */
export class Platform {
  readonly world: World;
  readonly network: Network;
  readonly database: Database;
  readonly isolates: readonly Isolate[];
  readonly #hosts = new Map<string, ObjectHost>();
  readonly #watch: Watch;
  readonly #treachery: Treachery | null;

  constructor(now: number, random: Random, faults: Faults, isolates: number, watch: Watch, treachery: Treachery | null) {
    this.world = new World(now, random);
    this.network = new Network(this.world, faults);
    this.database = new Database(this.world, this.network, treachery === "loses_rows");
    this.#watch = watch;
    this.#treachery = treachery;
    enter(this.world, this.network);
    this.isolates = Array.from({ length: isolates }, (_, n) => new Isolate(`isolate ${n}`, () => openPorts(this.#env())));
  }

  host(kind: Kind, name: string): ObjectHost {
    const key = `${kind} ${name}`;
    const known = this.#hosts.get(key);
    if (known !== undefined) return known;
    // The host makes each with the state and the bindings that the platform would give it.
    const made = CLASSES[kind] as unknown as ConstructorParameters<typeof ObjectHost>[2];
    const host = new ObjectHost(kind, name, made, this.#env(), this.world, this.network, this.#watch, this.#treachery);
    this.#hosts.set(key, host);
    return host;
  }

  hosts(): readonly ObjectHost[] {
    return [...this.#hosts.values()];
  }

  /** Bindings as `wrangler.toml` names them. Nothing in the simulation signs or reads a token. */
  #env(): Env {
    const namespace = (kind: Kind) => ({ getByName: (name: string) => this.#stub(kind, name) });
    const env = {
      SESSIONS: namespace("SESSIONS"),
      TENANTS: namespace("TENANTS"),
      LEDGERS: namespace("LEDGERS"),
      FEEDS: namespace("FEEDS"),
      DIRECTORY: namespace("DIRECTORY"),
      DB: this.database,
      TOKEN_ISSUER: "https://gateway.test",
      ALLOW_PRIVATE_ISSUERS: "false",
      ROOT_KEY: "",
      SIGNING_KEYS: "",
    };
    // What the gateway uses of the platform's types is here, and nothing else of them.
    return env as unknown as Env;
  }

  #stub(kind: Kind, name: string): object {
    return new Proxy(
      {},
      {
        get: (_target, method) => {
          if (typeof method !== "string" || method === "then") return undefined;
          const host = this.host(kind, name);
          if (method === "fetch") return (_url: string, init: { readonly headers: unknown }) => host.call("fetch", [init.headers]);
          return (...args: unknown[]) => host.call(method, args);
        },
      },
    );
  }

  /**
   * A client's request: a story that an isolate tells. The request and the answer are messages; what is heard is heard within `patienceMs`, or the client
   * gives up with `Unanswered` and knows nothing.
   */
  ask<T>(client: Party, what: string, patienceMs: number, story: (ports: Ports) => Promise<T>): Promise<T> {
    const { world, network } = this;
    const { random } = world;
    const isolate = random.pick(this.isolates);
    const { life } = client;
    return new Promise<T>((resolve, reject) => {
      const impatience = world.plan(patienceMs, client, `gives up on ${what}`, () => reject(new Unanswered(what)));
      const hear = (inMs: number, tell: () => void): void => {
        if (client.life !== life) return;
        world.plan(inMs, client, `hears of ${what}`, () => {
          impatience.cancel();
          tell();
        });
      };
      const going = network.fate(client, isolate);
      if (going.kind === "fails") {
        hear(going.inMs, () => reject(new Unanswered(what)));
        return;
      }
      const arrive = (inMs: number, isAnswered: boolean): void => {
        const tell = (): void => {
          const done = isolate.serve(() => {
            if (isAnswered) hear(network.latencyMs(), () => reject(new Unanswered(what)));
          });
          const answer = (drop: () => void, told: () => void): void => {
            done();
            const coming = network.fate(isolate, client);
            if (!isAnswered) drop();
            else if (coming.kind === "arrives") hear(coming.inMs, told);
            else {
              drop();
              hear(coming.inMs, () => reject(new Unanswered(what)));
            }
          };
          story(isolate.ports).then(
            (value) => {
              const socket = socketIn(value);
              const told = socket === null ? structuredClone(value) : value;
              answer(
                () => socket?.breakOff(),
                () => resolve(told),
              );
            },
            (fault: unknown) =>
              answer(
                () => undefined,
                () => reject(fault),
              ),
          );
        };
        world.plan(inMs, isolate, `is asked ${what} by ${client.name}`, tell);
      };
      arrive(going.inMs, true);
      if (random.chance(network.faults.duplicates)) arrive(going.inMs + random.between(0, random.chance(0.5) ? 5 : 3_000), false);
    });
  }

  close(): void {
    for (const host of this.#hosts.values()) host.storage.close();
    this.database.close();
  }
}

/** The socket that an answer is about, if it is about one: that one end is the client's, and is not copied. */
function socketIn(value: unknown): Socket | null {
  const result = value as { readonly value?: unknown } | null;
  return result?.value instanceof Socket ? result.value : null;
}
