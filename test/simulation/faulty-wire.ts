import { StintError } from "../../src/core/error.ts";
import type { Choices } from "./choices.ts";
import type { HostWire } from "./host-disk.ts";
import type { Wire, WireCall } from "./oracle-store.ts";
import type { Chance, VirtualProcess, VirtualWorld } from "./virtual-world.ts";

/** What may go wrong with one statement. */
export const FAULTS = [
  "refused",
  "answer_lost",
  "delayed",
  "stalled",
  "crash_before",
  "crash_after",
] as const;
export type Fault = (typeof FAULTS)[number];

/** How likely each fault is; what is not named does not happen. */
export type FaultRates = Readonly<Partial<Record<Fault, number>>>;

/** What a wire needs, and whom it tells. */
export interface FaultyWireOptions {
  readonly world: VirtualWorld;
  readonly process: VirtualProcess;
  readonly choices: Choices;
  /** Asked for each statement: faults may have ended meanwhile; null when they have. */
  readonly rates: () => FaultRates | null;
  /** The process dies at the statement with this number, before or after it was carried out. */
  readonly crashPoint: { readonly call: number; readonly fault: Fault } | null;
  readonly onCrash: () => void;
  readonly onCall: (call: WireCall, fault: Fault | null) => void;
  /** Carries out a statement, with a look at the database before and after it. */
  readonly carryOut: <T>(call: WireCall, work: () => T) => T;
}

const ANSWER_MS_MAX = 20_000;

/**
 * A connection on which everything goes wrong that can: a statement is refused, done without an
 * answer, late, or done long after nobody waits for it; or its process dies right before or after.
 * What was sent is carried out although the sender has died since, as in reality.
 */
export function createFaultyWire(options: FaultyWireOptions): Wire {
  const { world, process } = options;
  const counter = new CallCounter();
  return <T>(call: WireCall, work: () => T): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      const { fault, chance } = chooseFault(options, call, counter);
      options.onCall(call, fault);
      if (fault === "crash_before") {
        options.onCrash();
        return;
      }
      const answer = (delayMs: number, tell: () => void): void => {
        world.plan(process, delayMs, `answer ${call.command}`, tell);
      };
      const fail = (): void => {
        reject(new StintError("database_unavailable", `the connection was lost: ${call.command}`));
      };
      const latencyMs = chance.between(0, 8);
      const answerMs = chance.between(0, 8);
      if (fault === "refused") {
        answer(latencyMs, fail);
        return;
      }
      if (fault === "stalled") answer(ANSWER_MS_MAX, fail);
      const sendMs = latencyMs + lateBy(fault, chance);
      world.plan(null, sendMs, `do ${call.command}`, () => {
        let tell: () => void;
        try {
          const value = options.carryOut(call, work);
          tell = () => resolve(value);
        } catch (error) {
          tell = () => reject(error as Error);
        }
        if (fault === "crash_after") options.onCrash();
        answer(answerMs, fault === "answer_lost" ? fail : tell);
      });
    });
}

/**
 * A host on which everything goes wrong that can. What a worker does to its files happens as it asks
 * for it: the answer alone is late. Killing what runs cannot be refused.
 */
export function createFaultyHost(
  options: Omit<FaultyWireOptions, "carryOut" | "onCall"> & {
    readonly onCall: (command: string, fault: Fault | null) => void;
  },
): HostWire {
  const { world, process } = options;
  const counter = new CallCounter();
  return (call, work) =>
    new Promise((resolve, reject) => {
      const { fault, chance } = chooseFault(options, call, counter);
      options.onCall(call.command, fault);
      if (fault === "crash_before") {
        options.onCrash();
        return;
      }
      const answerMs = chance.between(0, 4) + lateBy(fault, chance);
      const answer = (tell: () => void): void => {
        world.plan(process, answerMs, `host ${call.command}`, tell);
      };
      const fail = (): void => reject(new Error(`EIO: ${call.command}`));
      const mayFail = call.command !== "close";
      if (fault === "refused" && mayFail) {
        answer(fail);
        return;
      }
      const value = work();
      if (fault === "crash_after") options.onCrash();
      answer(fault === "answer_lost" && mayFail ? fail : () => resolve(value));
    });
}

/** Numbers the calls of one process: all of them, and those of each command. */
class CallCounter {
  total = 0;
  readonly #ofCommand = new Map<string, number>();

  next(command: string): number {
    this.total++;
    const number = (this.#ofCommand.get(command) ?? 0) + 1;
    this.#ofCommand.set(command, number);
    return number;
  }
}

/** What becomes of a call is a matter of its place alone, whatever came before it. */
function chooseFault(
  {
    choices,
    process,
    rates,
    crashPoint,
  }: Pick<FaultyWireOptions, "choices" | "process" | "rates" | "crashPoint">,
  { command }: { readonly command: string },
  counter: CallCounter,
): { fault: Fault | null; chance: Chance } {
  const place = `${process.name} ${command}#${counter.next(command)}`;
  const chance = process.chanceOf(place);
  const drawn = chance.next();
  const known = rates();
  if (known === null) return { fault: null, chance };
  const fault = choices.pick(place, FAULTS, () => {
    if (crashPoint?.call === counter.total) return crashPoint.fault;
    let sum = 0;
    return FAULTS.find((one) => drawn < (sum += known[one] ?? 0)) ?? null;
  });
  return { fault, chance };
}

function lateBy(fault: Fault | null, chance: Chance): number {
  if (fault === "delayed") return chance.between(200, 4_000);
  return fault === "stalled" ? chance.between(5_000, 30_000) : 0;
}
