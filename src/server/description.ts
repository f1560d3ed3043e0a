/** The description of the API that the server gives of itself: OpenAPI 3.1. */
import { z } from "@hono/zod-openapi";
import type { RouteTable } from "./route.ts";
import { eventSchema, problemSchema } from "./schema.ts";

/** Adds `/openapi.json`: every route of the table, itself included. */
export function addDescription(routes: RouteTable, version: string): void {
  const { app } = routes;
  app.openAPIRegistry.register("Event", eventSchema);
  app.openAPIRegistry.register("Problem", problemSchema);
  app.openAPIRegistry.registerComponent("securitySchemes", "bearer", {
    type: "http",
    scheme: "bearer",
    description: "The token that the server printed; also in STINT_DATA/server.json.",
  });
  app.openAPIRegistry.registerComponent("securitySchemes", "query", {
    type: "apiKey",
    in: "query",
    name: "access_token",
    description: "For EventSource, which can send no header.",
  });
  let text: string | null = null;
  routes.addPublic(
    {
      method: "get",
      path: "/openapi.json",
      access: "public",
      tag: "operating",
      summary: "Describes this API.",
      answers: {
        200: {
          description: "An OpenAPI 3.1 document.",
          content: { "application/json": { schema: z.looseObject({ openapi: z.string() }) } },
        },
      },
    },
    (c) => {
      text ??= JSON.stringify(describeApi(routes, version));
      return c.body(text, 200, { "content-type": "application/json" });
    },
  );
}

function describeApi(routes: RouteTable, version: string): object {
  return routes.app.getOpenAPI31Document({
    openapi: "3.1.0",
    info: {
      title: "Stint",
      version,
      description: "Sessions of coding agents: durable, resumable, observable.",
      license: { name: "Apache-2.0" },
    },
    servers: [{ url: "/" }],
    tags: [
      { name: "sessions", description: "Create, watch and command sessions." },
      { name: "events", description: "Read and follow logs." },
      { name: "operating", description: "For those who run Stint." },
    ],
  });
}
