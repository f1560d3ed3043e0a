/**
 * One way to add a route: what it answers, who may call it and its description come together, so no
 * route can exist undescribed or without a decision about its callers.
 */
import type { HttpBindings } from "@hono/node-server";
import type { OpenAPIHono, RouteConfig, z } from "@hono/zod-openapi";
import type { Context, Handler } from "hono";
import { ERRORS, StintError, type ErrorCode } from "../core/error.ts";
import type { Viewer } from "../core/store.ts";
import { assertOperator, authenticateRequest, type Authenticator } from "./auth.ts";
import { PROBLEM_TYPE } from "./problem.ts";
import { problemSchema } from "./schema.ts";

/** The environment of the application; Node's bindings are absent when it is called directly. */
export interface AppEnv {
  readonly Bindings: Partial<HttpBindings>;
  readonly Variables: { route?: string };
}

/** The application. */
export type App = OpenAPIHono<AppEnv>;

/** The context of one request. */
export type AppContext = Context<AppEnv>;

/**
 * Who may call a route. `viewer`: a token in the header; `viewer-by-query`: also in the query;
 * `operator`: the token of an operator; `public`: anybody.
 */
export type Access = "public" | "viewer" | "viewer-by-query" | "operator";

/** A route with its description. */
export interface RouteSpec {
  readonly method: "get" | "post" | "delete";
  /** With parameters in braces. */
  readonly path: string;
  readonly access: Access;
  readonly summary: string;
  readonly description?: string;
  readonly tag: "sessions" | "events" | "operating";
  readonly request?: NonNullable<RouteConfig["request"]>;
  /** Answers by status, errors excepted. */
  readonly answers: RouteConfig["responses"];
  /** Errors beside those that any route may answer with. */
  readonly errors?: readonly ErrorCode[];
}

/** Answers a request; the viewer is null on public routes only. */
export type RouteHandler<V> = (c: AppContext, viewer: V) => Response | Promise<Response>;

const COMMON_ERRORS: readonly ErrorCode[] = ["forbidden_origin", "internal"];
const STORE_ERRORS: readonly ErrorCode[] = ["unauthorized", "database_unavailable"];

/** Adds routes to an application, all with the same authenticator. */
export class RouteTable {
  readonly app: App;
  readonly #authenticator: Authenticator;
  readonly #methods = new Map<string, string[]>();

  constructor(app: App, authenticator: Authenticator) {
    this.app = app;
    this.#authenticator = authenticator;
  }

  /** Adds a route that anybody may call. */
  addPublic(spec: RouteSpec & { readonly access: "public" }, handler: RouteHandler<null>): void {
    this.#add(spec, (c) => handler(c, null));
  }

  /** Adds a route that needs a token. */
  add(
    spec: RouteSpec & { readonly access: Exclude<Access, "public"> },
    handler: RouteHandler<Viewer>,
  ): void {
    const source = spec.access === "viewer-by-query" ? "header-or-query" : "header";
    this.#add(spec, async (c) => {
      const viewer = await authenticateRequest(c, this.#authenticator, source);
      if (spec.access === "operator") assertOperator(viewer);
      return await handler(c, viewer);
    });
  }

  /** Makes every path refuse the methods it does not have. Call it after the last `add`. */
  refuseOtherMethods(): void {
    for (const [path, methods] of this.#methods) {
      const allowed = methods.flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : method));
      this.app.all(toPattern(path), (c) => {
        c.set("route", path);
        c.header("allow", allowed.join(", "));
        throw new StintError("method_not_allowed", `${path} has ${allowed.join(", ")} only`);
      });
    }
  }

  #add(spec: RouteSpec, handler: Handler<AppEnv>): void {
    const method = spec.method.toUpperCase();
    this.#methods.set(spec.path, [...(this.#methods.get(spec.path) ?? []), method]);
    this.app.openAPIRegistry.registerPath(describeRoute(spec));
    this.app.on(method, toPattern(spec.path), (c, next) => {
      c.set("route", spec.path);
      return handler(c, next);
    });
  }
}

/** The body of a successful answer, for `answers`. */
export function answerJson(
  description: string,
  schema: z.ZodType,
): { description: string; content: Record<string, { schema: z.ZodType }> } {
  return { description, content: { "application/json": { schema } } };
}

function describeRoute(spec: RouteSpec): RouteConfig {
  const { method, path, access, summary, description, tag, request, answers, errors = [] } = spec;
  const codes = [
    ...(request?.query || request?.body ? (["invalid_request"] as const) : []),
    ...errors,
    ...(access === "public" ? [] : STORE_ERRORS),
    ...(access === "operator" ? (["forbidden"] as const) : []),
    ...COMMON_ERRORS,
  ];
  return {
    method,
    path,
    operationId: operationId(method, path),
    summary,
    ...(description === undefined ? {} : { description }),
    tags: [tag],
    security: securityOf(access),
    ...(request === undefined ? {} : { request }),
    responses: { ...answers, ...describeErrors(codes) },
  };
}

function describeErrors(codes: readonly ErrorCode[]): RouteConfig["responses"] {
  const statuses = new Set(codes.map((code) => ERRORS[code].status));
  const describe = (status: number): RouteConfig["responses"][string] => ({
    description: [...new Set(codes)].filter((code) => ERRORS[code].status === status).join(", "),
    content: { [PROBLEM_TYPE]: { schema: problemSchema } },
  });
  return Object.fromEntries([...statuses].map((status) => [String(status), describe(status)]));
}

function securityOf(access: Access): Record<string, string[]>[] {
  if (access === "public") return [];
  return access === "viewer-by-query" ? [{ bearer: [] }, { query: [] }] : [{ bearer: [] }];
}

/** `get /v1/sessions/{id}/events` becomes `getSessionsIdEvents`. */
function operationId(method: string, path: string): string {
  const words = path.replace(/^\/v1/, "").split(/[^a-zA-Z]+/);
  return method + words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("");
}

function toPattern(path: string): string {
  return path.replaceAll(/\{(\w+)\}/g, ":$1");
}
