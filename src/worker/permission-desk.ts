import { posix } from "node:path";
import { hashRequest, type RequestPlaces } from "../agents/request-hash.ts";
import { shortenInput } from "../agents/shown-input.ts";
import { delay, type Clock } from "../core/clock.ts";
import type { NewEvent } from "../core/event.ts";
import { truncateText } from "../core/json.ts";
import { parsePermissionPolicy, type PermissionPolicy } from "../core/permission-policy.ts";
import type {
  AskedPermission,
  PermissionDecision,
  PermissionRequest,
  StoredPermission,
} from "../core/permission.ts";
import type { SessionSnapshot } from "../core/session.ts";
import type { OwnerCommit, Store } from "../core/store.ts";
import { readPatiently } from "./patience.ts";
import type { SessionHold } from "./session-hold.ts";

/** What the desk is told by the configuration. */
export interface PermissionSettings {
  /** Rules for all sessions; those of a session come before them. */
  readonly permissions: readonly string[];
  readonly permissionTimeoutMs: number;
  readonly permissionDefault: "deny" | "allow";
  readonly permissionHoldMs: number;
}

/** The attempt that a desk belongs to. */
export interface AskingAttempt extends Pick<
  SessionHold,
  "sessionId" | "signal" | "isFreezing" | "passGate" | "pause" | "stop"
> {
  readonly session: Pick<SessionSnapshot, "permissions">;
}

/** What a desk works with. */
export interface PermissionDeskOptions {
  readonly hold: AskingAttempt;
  readonly store: Pick<Store, "listPermissions" | "watchWork">;
  readonly commit: (commit: OwnerCommit) => Promise<unknown>;
  /** Where a path of the workspace leads, links followed. */
  readonly resolvePath: (path: string) => Promise<string>;
  readonly places: RequestPlaces;
  readonly settings: PermissionSettings;
  readonly clock: Clock;
}

/** The net below the notices of the database. */
const POLL_MS = 1_000;
const TITLE_BYTES_MAX = 1_000;
const PATHS_SHOWN_MAX = 50;

/**
 * Gives an agent leave, or none: by the policy, or by what a person has decided. A question is a row
 * before it is asked, so it outlives the attempt; whoever asks the same after a crash gets the
 * answer that there is. A decision counts until an intent has acted upon it, and once.
 */
export class PermissionDesk {
  readonly #options: PermissionDeskOptions;
  readonly #policy: PermissionPolicy;
  /** Questions that a call of this attempt waits for, or has its answer of. */
  readonly #taken = new Set<string>();

  /** @throws {config_invalid} for a rule that cannot be read. */
  constructor(options: PermissionDeskOptions) {
    this.#options = options;
    const { hold, settings } = options;
    const rules = [...hold.session.permissions, ...settings.permissions];
    this.#policy = parsePermissionPolicy(rules);
  }

  /** Rejects with the reason of the hold's signal when the attempt is stopped first. */
  async ask({ callId = null, ...asked }: AskedPermission): Promise<PermissionDecision> {
    const { hold } = this.#options;
    const request = { ...asked, paths: await this.#resolvePaths(asked) };
    hold.signal.throwIfAborted();
    const decision = this.#policy(request);
    if (decision === "allow") return { decision, by: "policy", permissionId: null, note: null };
    if (decision === "deny") return this.#deny(request);
    const id = await this.#place(request, callId);
    const answer = await this.#waitForAnswer(id);
    if (!answer.isTold) {
      await this.#options.commit({ events: [tellAnswer(answer)], tellPermission: id });
    }
    return {
      decision: answer.status === "allowed" ? "allow" : "deny",
      by: answer.decidedBy ?? "expiry",
      permissionId: id,
      note: answer.note,
    };
  }

  /** The paths as they were named, and the places that they lead to: rules hold for both. */
  async #resolvePaths({ paths }: PermissionRequest): Promise<readonly string[]> {
    const places = new Set(paths);
    // Some tools resolve `..` by the names, others leave it to the kernel.
    for (const path of paths) {
      for (const way of new Set([path, posix.normalize(path)])) {
        places.add(await this.#options.resolvePath(way));
      }
    }
    return [...places];
  }

  async #deny(request: PermissionRequest): Promise<PermissionDecision> {
    const permissionId = this.#options.clock.newId();
    const event = show(request, { permissionId, status: "denied", by: "policy" });
    await this.#options.commit({ events: [event] });
    return { decision: "deny", by: "policy", permissionId: null, note: null };
  }

  /** The question as it is stored: one that an earlier attempt has left, or a new one. */
  async #place(request: PermissionRequest, callId: string | null): Promise<string> {
    const { clock, commit, hold, places, settings } = this.#options;
    const requestHash = hashRequest(request, places);
    const open = await this.#list();
    const left = open.find((one) => one.requestHash === requestHash && !this.#taken.has(one.id));
    const permissionId = left?.id ?? clock.newId();
    this.#taken.add(permissionId);
    hold.signal.throwIfAborted();
    if (left) {
      // After a crash, only the call that waits now is one that has not begun.
      if (left.callId !== callId) await commit({ bindPermission: { permissionId, callId } });
      return permissionId;
    }
    const { permissionTimeoutMs: timeoutMs, permissionDefault } = settings;
    const atExpiry = permissionDefault === "allow" ? "allowed" : "denied";
    const expiresAt = new Date(clock.now() + timeoutMs).toISOString();
    await commit({
      events: [show(request, { permissionId, status: "requested", expiresAt })],
      askPermission: { permissionId, requestHash, request, timeoutMs, atExpiry, callId },
    });
    return permissionId;
  }

  /** Frees the slot after a while: the session then waits for its answer without a worker. */
  async #waitForAnswer(id: string): Promise<StoredPermission> {
    const { clock, hold, settings, store } = this.#options;
    let endMs = clock.monotonic() + settings.permissionHoldMs;
    let wake = doNothing;
    const stopWatching = store.watchWork(() => wake());
    try {
      for (;;) {
        const news = new AbortController();
        wake = () => news.abort();
        const asked = (await this.#list()).find((one) => one.id === id);
        if (asked && asked.status !== "pending") return asked;
        const leftMs = endMs - clock.monotonic();
        const over = { kind: "permission", message: "the agent waits for leave" } as const;
        if (!asked) hold.stop(over);
        else if (leftMs <= 0) hold.pause(over);
        if (hold.isFreezing) {
          await hold.passGate();
          endMs = clock.monotonic() + settings.permissionHoldMs;
        }
        hold.signal.throwIfAborted();
        if (leftMs > 0)
          await waitForNews(clock, Math.min(POLL_MS, leftMs), news.signal, hold.signal);
      }
    } finally {
      stopWatching();
    }
  }

  #list(): Promise<readonly StoredPermission[]> {
    const { clock, hold, store } = this.#options;
    const read = (): Promise<readonly StoredPermission[]> =>
      store.listPermissions(hold.sessionId, { isOpen: true });
    return readPatiently(clock, hold.signal, read);
  }
}

/** Resolves with news, after a while, or when the attempt is stopped. */
async function waitForNews(
  clock: Clock,
  longestMs: number,
  news: AbortSignal,
  stopped: AbortSignal,
): Promise<void> {
  if (news.aborted) return;
  const over = new AbortController();
  const end = (): void => over.abort();
  news.addEventListener("abort", end, { once: true });
  stopped.addEventListener("abort", end, { once: true, signal: over.signal });
  // Its rejection says only that there is something to look at.
  await delay(clock, longestMs, over.signal).catch(() => undefined);
  over.abort();
}

function tellAnswer({ id, status, decidedBy, note, ...request }: StoredPermission): NewEvent {
  const answer = status === "allowed" ? "allowed" : "denied";
  return show(request, { permissionId: id, status: answer, by: decidedBy, ...(note && { note }) });
}

const doNothing = (): void => undefined;

type Told = Extract<NewEvent, { type: "permission" }>["data"];

function show(request: PermissionRequest, fields: Told): NewEvent {
  const { tool, kind, title, cwd, paths } = request;
  const shown = {
    ...{ tool, kind, cwd, title: truncateText(title, TITLE_BYTES_MAX).text },
    paths: paths.slice(0, PATHS_SHOWN_MAX),
    input: shortenInput(request.input),
  };
  return { type: "permission", data: { ...shown, ...fields } };
}
