import type { DurableObject } from "./cloudflare_workers.ts";
import { type Marks, type Network, Outage } from "./network.ts";
import { Answer, type Socket } from "./sockets.ts";
import { Storage } from "./storage.ts";
import type { Party, World } from "./world.ts";

type Method = (...args: unknown[]) => unknown;
/** An object's class as the platform sees it: something that is made of a state and bindings, and has methods. */
type ObjectClass = new (ctx: never, env: never) => DurableObject;

/** An alarm is tried again so often when it throws, and then never again. */
const MOST_ALARM_RETRIES = 6;
const FIRST_RETRY_MS = 2_000;
/** An alarm that has not ended by then is ended. */
const LONGEST_ALARM_MS = 15 * 60_000;

/** What the platform tells of its objects, to whoever watches over them. */
export interface Watch {
  /** What an object had written is durable. Nothing of it has left the object before. */
  durable(host: ObjectHost): void;
  /** An object ran. */
  ran(host: ObjectHost): void;
  /** An object fell, and stands where its storage says. */
  fell(host: ObjectHost): void;
  /** An object threw what is no outage. */
  broke(host: ObjectHost, fault: unknown): void;
}

/**
 * How the platform breaks its word, to see that this is noticed: what it called durable is gone after a fall; what an object sends leaves before what it
 * wrote is durable; an alarm that was set never rings; D1 says that it wrote and did not.
 */
export const TREACHERIES = ["loses_writes", "leaks_answers", "forgets_alarms", "loses_rows"] as const;
export type Treachery = (typeof TREACHERIES)[number];
/** How often a fall comes instead of what was called durable. */
const TREACHEROUS = 0.05;

/**
 * One object and its storage. One event at a time; what it sends leaves once what it had written is durable; a crash undoes what is not and forgets
 * everything in memory; an alarm rings at least once.
 */
export class ObjectHost implements Party {
  readonly name: string;
  readonly id: { readonly name: string; toString(): string };
  offsetMs = 0;
  life = 0;
  /** The most that its clock was ever ahead. */
  aheadMs = 0;
  /** By how much its clock was set back in all: for so much longer it may believe what it was told. */
  setBackMs = 0;
  readonly storage: Storage;
  sockets: Socket[] = [];
  readonly #world: World;
  readonly #network: Network;
  readonly #class: ObjectClass;
  readonly #env: object;
  readonly #watch: Watch;
  readonly #treachery: Treachery | null;
  #instance: DurableObject | null = null;
  #held: (() => void)[] = [];
  #isConfirming = false;
  /** Who waits for an answer of this life. */
  readonly #serving = new Set<Reset>();
  #plannedAlarm: number | null = null;
  #alarmFailures = 0;

  constructor(kind: string, name: string, made: ObjectClass, env: object, world: World, network: Network, watch: Watch, treachery: Treachery | null) {
    this.name = `${kind} ${name}`;
    this.id = { name, toString: () => name };
    this.storage = new Storage();
    this.#class = made;
    this.#env = env;
    this.#world = world;
    this.#network = network;
    this.#watch = watch;
    this.#treachery = treachery;
  }

  emit(send: () => void): void {
    if (this.storage.isDirty && this.#treachery !== "leaks_answers") this.#held.push(send);
    else send();
  }

  /** Calls a method from where the world's code runs now. */
  call(method: string, args: readonly unknown[]): Promise<unknown> {
    const from = this.#world.current;
    if (from === null) throw new Error("nobody calls");
    const sent: unknown = structuredClone(args);
    return new Promise((resolve, reject) => {
      from.emit(() => this.#send(from, method, sent as readonly unknown[], resolve, reject));
    });
  }

  #send(from: Party, method: string, args: readonly unknown[], resolve: (value: unknown) => void, reject: (fault: unknown) => void): void {
    const { life } = from;
    const answer = (what: string, inMs: number, tell: () => void): void => {
      if (from.life === life) this.#world.plan(inMs, from, `hears ${what} of ${this.name} ${method}`, tell);
    };
    const going = this.#network.fate(from, this);
    if (going.kind === "fails") {
      answer("nothing", going.inMs, () => reject(new Outage("Network connection lost.", { retryable: true })));
      return;
    }
    const serve = (): void =>
      this.#serve(
        method,
        args,
        (value) => {
          const coming = this.#network.fate(this, from);
          if (coming.kind === "arrives") answer("the answer", coming.inMs, () => resolve(value));
          else answer("no answer", coming.inMs, () => reject(new Outage("Network connection lost.", { retryable: true })));
        },
        (fault, lateMs) => answer("a fault", this.#network.latencyMs() + lateMs, () => reject(fault)),
      );
    // A message is for the object, whichever life it is in when it arrives.
    this.#world.plan(going.inMs, this, `is asked ${method} by ${from.name}`, serve, true);
  }

  /** One event: a method is called, and runs until it first waits. */
  #serve(method: string, args: readonly unknown[], answer: (value: unknown) => void, fail: (fault: Outage, lateMs: number) => void): void {
    const { life } = this;
    let isDone = false;
    const end = (tell: () => void): void => {
      if (isDone) return;
      isDone = true;
      this.#serving.delete(reset);
      tell();
    };
    const reset: Reset = (fault, lateMs) => end(() => fail(fault, lateMs));
    this.#serving.add(reset);
    // What comes of a life that is over never leaves: its memory is gone, and nothing runs in it any more.
    const ifAlive = (tell: () => void): void => {
      if (this.life === life) end(tell);
    };
    this.#run(method, args).then(
      (value) => ifAlive(() => this.emit(() => answer(value instanceof Answer || value instanceof Response ? value : structuredClone(value)))),
      (fault: unknown) => {
        this.#watch.broke(this, fault);
        ifAlive(() => this.emit(() => fail(new Outage(`[outage] thrown in ${this.name}: ${String(fault)}`, { remote: true }), 0)));
      },
    );
  }

  async #run(method: string, args: readonly unknown[]): Promise<unknown> {
    const instance = this.#wake();
    // The callers' types say which methods there are, as they do on the platform.
    const called = (instance as unknown as Record<string, Method | undefined>)[method];
    if (method === "fetch") return called?.call(instance, { headers: new Headers(args[0] as Record<string, string>) });
    if (called === undefined) throw new Error(`${this.name} has no method ${method}`);
    return called.apply(instance, [...args]);
  }

  #wake(): DurableObject {
    if (this.#instance !== null) return this.#instance;
    // The state below has what the objects use of the platform's.
    this.#instance = new this.#class(this.#state() as never, this.#env as never);
    return this.#instance;
  }

  #state(): object {
    const { storage } = this;
    return {
      id: this.id,
      storage: {
        sql: { exec: (query: string, ...bindings: (string | number | null)[]) => storage.exec(query, ...bindings) },
        transactionSync: <T>(act: () => T): T => storage.transactionSync(act),
        setAlarm: async (at: number) => storage.setAlarm(at),
        getAlarm: async () => storage.alarmAt,
        deleteAlarm: async () => storage.setAlarm(null),
      },
      waitUntil: (work: Promise<unknown>) => {
        work.catch((fault: unknown) => this.#watch.broke(this, fault));
      },
      acceptWebSocket: (socket: Socket) => {
        socket.owner = this;
        this.sockets.push(socket);
      },
      getWebSockets: () => this.sockets.filter(({ isGone }) => !isGone),
      setWebSocketAutoResponse: () => undefined,
    };
  }

  /** After an event: what was written becomes durable, now or a little later. */
  settle(): void {
    this.#watch.ran(this);
    if (!this.storage.isDirty) {
      this.storage.makeDurable();
      return;
    }
    if (this.#isConfirming) return;
    if (this.#world.random.chance(0.7)) {
      this.#confirm();
      return;
    }
    this.#isConfirming = true;
    this.#world.plan(this.#world.random.between(0, 6), this, "is durable", () => {
      this.#isConfirming = false;
      this.#confirm();
    });
  }

  #confirm(): void {
    if (this.#treachery === "loses_writes" && this.#world.random.chance(TREACHEROUS)) {
      // It lets go what it held back, as if all were well, and falls.
      for (const send of this.#held.splice(0)) send();
      this.crash();
      return;
    }
    this.storage.makeDurable();
    this.#planAlarm();
    this.#watch.durable(this);
    for (const send of this.#held.splice(0)) send();
  }

  /** It falls: what is not durable never was, and everything in memory is gone. */
  crash(): void {
    this.#fall();
    for (const socket of this.sockets.splice(0)) socket.breakOff();
    const { random } = this.#world;
    for (const reset of [...this.#serving]) {
      const told = random.chance(0.7);
      const marks: Marks = told ? { retryable: true, durableObjectReset: true } : { retryable: true };
      reset(new Outage(told ? "The object was reset." : "Network connection lost.", marks), random.chance(0.2) ? random.between(1_000, 60_000) : 0);
    }
    this.#serving.clear();
    this.#watch.fell(this);
  }

  /** It is put to sleep where nobody waits for it: sockets and storage stay, memory goes. Answers whether it was. */
  evict(): boolean {
    if (this.#instance === null || this.#serving.size > 0 || this.storage.isRinging || this.storage.isDirty) return false;
    this.#fall();
    this.#watch.fell(this);
    return true;
  }

  #fall(): void {
    this.storage.undo();
    this.#held = [];
    this.#instance = null;
    this.#isConfirming = false;
    this.life++;
    this.#plannedAlarm = null;
    // An alarm that had not ended rings again.
    this.storage.isRinging = false;
    this.#planAlarm();
  }

  #planAlarm(): void {
    const at = this.storage.durableAlarm;
    if (at === null || at === this.#plannedAlarm || (this.storage.isRinging && this.storage.alarmAt === null)) return;
    this.#plannedAlarm = at;
    this.#planRinging(at - this.#world.clockOf(this), at);
  }

  /** Its clock has been set anew: an alarm rings by it. */
  setClock(offsetMs: number): void {
    if (offsetMs < this.offsetMs) this.setBackMs += this.offsetMs - offsetMs;
    this.offsetMs = offsetMs;
    this.aheadMs = Math.max(this.aheadMs, offsetMs);
    this.#plannedAlarm = null;
    this.#planAlarm();
  }

  #planRinging(inMs: number, at: number): void {
    if (this.#treachery === "forgets_alarms") return;
    this.#world.plan(Math.max(inMs, this.#world.random.between(0, 20)), this, "hears its alarm", () => this.#ring(at));
  }

  #ring(at: number): void {
    if (this.storage.durableAlarm !== at || this.storage.alarmAt !== at || this.#world.clockOf(this) < at) return;
    if (this.storage.isRinging) {
      // The next one waits for the one that rings.
      this.#planRinging(1_000, at);
      return;
    }
    this.storage.isRinging = true;
    this.#plannedAlarm = null;
    this.storage.alarmAt = null;
    const { life } = this;
    const limit = this.#world.plan(LONGEST_ALARM_MS, this, "has rung too long", () => this.crash());
    const ended = (failed: boolean): void => {
      if (this.life !== life) return;
      limit.cancel();
      this.storage.isRinging = false;
      if (failed && this.storage.alarmAt === null) {
        this.#alarmFailures++;
        if (this.#alarmFailures <= MOST_ALARM_RETRIES) {
          this.storage.alarmAt = at;
          this.#planRinging(FIRST_RETRY_MS * 2 ** this.#alarmFailures, at);
          return;
        }
      }
      this.#alarmFailures = 0;
      // With what it wrote: should that be undone, it rings again.
      if (!this.storage.isDirty) this.storage.makeDurable();
      this.#planAlarm();
    };
    this.#run("alarm", []).then(
      () => ended(false),
      (fault: unknown) => {
        this.#watch.broke(this, fault);
        ended(true);
      },
    );
  }

  /** An event that comes by a socket. */
  hearSocket(method: "webSocketMessage" | "webSocketClose", socket: Socket, said: string): void {
    this.#run(method, [socket, said]).catch((fault: unknown) => this.#watch.broke(this, fault));
  }
}

type Reset = (fault: Outage, lateMs: number) => void;
