import { randomUUID } from "node:crypto";
import { beforeEach, describe, expect, it } from "vitest";
import type { StoredPermission } from "../core/permission.ts";
import { permissionListSchema, permissionSchema } from "./schema.ts";
import { startHarness, STRANGER_TOKEN, type Harness } from "./harness.testsuite.ts";

let harness: Harness;
let id: string;
beforeEach(async () => {
  harness = startHarness();
  id = await harness.create();
});

function addPermission(over: Partial<StoredPermission> = {}): StoredPermission {
  const permission: StoredPermission = {
    ...{ id: randomUUID(), sessionId: id, requestHash: "hash", status: "pending" },
    ...{ tool: "bash", kind: "execute", title: "npm test", input: { command: "npm test" } },
    ...{ cwd: "/workspace", paths: [], modelCallId: null, note: null, decidedBy: null },
    ...{ callId: null, isTold: false, decidedAt: null },
    ...{ askedAt: new Date(0), expiresAt: new Date(1) },
    ...over,
  };
  harness.store.permissions.push(permission);
  return permission;
}

const path = (permissionId = ""): string => `/v1/sessions/${id}/permissions${permissionId}`;

async function codeOf(response: Response): Promise<unknown> {
  return ((await response.json()) as { code: unknown }).code;
}

describe("permissions", () => {
  it("lists what the agent asked, without what is ours alone", async () => {
    const { id: asked } = addPermission();
    const response = await harness.call("GET", path());
    const { permissions } = permissionListSchema.parse(await response.json());
    expect(permissions).toMatchObject([{ id: asked, status: "pending", title: "npm test" }]);
  });

  it("shows that an active session waits for leave, alone and in the list", async () => {
    harness.store.transition(id, "active", "started");
    const read = async (path: string) => (await harness.call("GET", path)).json();
    expect(await read(`/v1/sessions/${id}`)).toMatchObject({ status: "active", waitingFor: null });
    addPermission();
    expect(await read(`/v1/sessions/${id}`)).toMatchObject({ waitingFor: "permission" });
    expect(await read("/v1/sessions")).toMatchObject({ sessions: [{ waitingFor: "permission" }] });
    harness.store.permissions.splice(0);
    expect(await read(`/v1/sessions/${id}`)).toMatchObject({ waitingFor: null });
  });

  it("decides by the start of an id, and again the same", async () => {
    const { id: asked } = addPermission();
    for (const place of [asked.slice(0, 8), asked]) {
      const answer = { decision: "deny", note: "no" };
      const response = await harness.call("POST", path(`/${place}`), answer);
      expect(permissionSchema.parse(await response.json())).toMatchObject({
        ...{ id: asked, status: "denied", note: "no", decidedBy: "user" },
      });
    }
    const other = await harness.call("POST", path(`/${asked}`), { decision: "allow" });
    expect([other.status, await codeOf(other)]).toEqual([409, "permission_decided"]);
  });

  it.each([
    [{}, 400],
    [{ decision: "maybe" }, 400],
    [{ decision: "allow", note: "a\0b" }, 400],
    [{ decision: "allow", forever: true }, 400],
  ])("refuses the answer %j", async (answer, status) => {
    const { id: asked } = addPermission();
    expect((await harness.call("POST", path(`/${asked}`), answer)).status).toBe(status);
  });

  it("tells what it does not find, and what is ambiguous", async () => {
    addPermission({ id: "aaaaaaaa-0000-4000-8000-000000000001" });
    addPermission({ id: "aaaaaaaa-0000-4000-8000-000000000002" });
    const none = await harness.call("POST", path("/bbbb"), { decision: "allow" });
    expect([none.status, await codeOf(none)]).toEqual([404, "permission_not_found"]);
    const several = await harness.call("POST", path("/aaaa"), { decision: "allow" });
    expect([several.status, await codeOf(several)]).toEqual([409, "id_ambiguous"]);
  });

  it("is not there for a stranger", async () => {
    const { id: asked } = addPermission();
    const headers = { authorization: `Bearer ${STRANGER_TOKEN}` };
    const read = await harness.app.request(path(), { headers });
    expect(await codeOf(read)).toBe("session_not_found");
    const body = JSON.stringify({ decision: "allow" });
    const decided = await harness.app.request(path(`/${asked}`), {
      ...{ method: "POST", body },
      headers: { ...headers, "content-type": "application/json" },
    });
    expect(await codeOf(decided)).toBe("session_not_found");
  });
});
