import type { JsonObject } from "./json.ts";

/** What kind of effect a tool has; the kinds of the Agent Client Protocol. */
export const TOOL_KINDS = [
  "read",
  "edit",
  "delete",
  "move",
  "search",
  "execute",
  "think",
  "fetch",
  "other",
] as const;
export type ToolKind = (typeof TOOL_KINDS)[number];

/**
 * What an agent asks leave for. A decision binds to tool, input and directory: the same three are
 * answered once by it, any other is asked anew.
 */
export interface PermissionRequest {
  /** The tool as the agent names it. */
  readonly tool: string;
  readonly kind: ToolKind;
  /** What else it may be, as far as its agent does not tell: the strictest decision counts. */
  readonly mayBe?: readonly ToolKind[];
  /** One line for people. */
  readonly title: string;
  readonly input: JsonObject;
  /** Directory in which it would act, absolute, as the agent sees it. */
  readonly cwd: string;
  /** Files that it would touch, as far as the agent tells; absolute or below `cwd`. */
  readonly paths: readonly string[];
  /** The id by which the agent knows the call, where it tells one. */
  readonly modelCallId: string | null;
}

/** A request, and the call of the ledger that waits for it: it has not begun before it is answered. */
export interface AskedPermission extends PermissionRequest {
  readonly callId?: string | null;
}

/** What was decided, and by whom. */
export interface PermissionDecision {
  readonly decision: "allow" | "deny";
  /** `policy` decides without asking; `expiry` when nobody answered in time. */
  readonly by: "policy" | "user" | "expiry";
  /** The stored request; null where the policy decided. */
  readonly permissionId: string | null;
  /** What the person said with it, for the agent. */
  readonly note: string | null;
}

/** A request that was asked in an earlier attempt and has not been acted upon since. */
export interface OpenPermission {
  readonly permissionId: string;
  readonly tool: string;
  readonly title: string;
  /** `pending` while nobody has decided. */
  readonly status: "pending" | "allowed" | "denied" | "lapsed";
  readonly note: string | null;
  /** The call of the ledger that waits for it, and so has not begun; null where it is in none yet. */
  readonly callId: string | null;
}

/** A stored request. */
export interface StoredPermission extends PermissionRequest {
  readonly id: string;
  readonly sessionId: string;
  /** Names tool, input and directory; a decision holds for the same three. */
  readonly requestHash: string;
  readonly status: OpenPermission["status"];
  /** Null while nobody has decided, and for a request that lapsed. */
  readonly decidedBy: "user" | "expiry" | null;
  readonly note: string | null;
  readonly callId: OpenPermission["callId"];
  /** The log tells the decision. */
  readonly isTold: boolean;
  readonly askedAt: Date;
  /** Then `atExpiry` is decided. */
  readonly expiresAt: Date;
  readonly decidedAt: Date | null;
}
