import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, it } from "vitest";
import { LOCAL_USER_ID } from "../../../src/core/session.ts";
import { type Owner, StoreHarness } from "./harness.ts";

let db: StoreHarness;
beforeAll(async () => {
  db = await StoreHarness.create();
});
afterAll(() => db.close());

/** Asks leave for a call; returns the id of the question. */
async function ask(owner: Owner, callId: string | null): Promise<string> {
  const permissionId = randomUUID();
  const shown = { tool: "bash", kind: "execute", title: "ls", cwd: "/w" } as const;
  const request = { ...shown, input: { command: "ls" }, paths: [], modelCallId: "1" };
  const question = { permissionId, requestHash: "h", request, callId } as const;
  const askPermission = { ...question, timeoutMs: 60_000, atExpiry: "denied" } as const;
  expect((await db.commit(owner, { askPermission })).status).toBe("ok");
  return permissionId;
}

it("lists of some sessions those whose agents wait for leave, each once, until that is decided", async () => {
  const [asking, other, quiet] = [
    await db.startSession(),
    await db.startSession(),
    await db.startSession(),
  ];
  const permissionId = await ask(asking, null);
  await ask(other, null);
  await ask(other, null);
  const list = async (...owners: readonly Owner[]): Promise<readonly string[]> =>
    db.store.listAskingSessions(owners.map(({ sessionId }) => sessionId));
  expect((await list(asking, other, quiet)).toSorted()).toEqual(
    [asking.sessionId, other.sessionId].toSorted(),
  );
  expect(await list(quiet)).toEqual([]);
  expect(await list()).toEqual([]);
  const { sessionId } = asking;
  const answer = { decision: "allow", note: null, userId: LOCAL_USER_ID } as const;
  await db.store.decidePermission({ sessionId, permissionId, ...answer });
  expect(await list(asking, quiet)).toEqual([]);
});

it("knows which call waits for a question, also when another one has taken its place", async () => {
  const [owner, stranger] = [await db.startSession(), await db.startSession()];
  const { sessionId } = owner;
  const [first, second] = [randomUUID(), randomUUID()];
  const permissionId = await ask(owner, first);
  const readCall = async (): Promise<unknown> =>
    (await db.store.readCheckpoint(sessionId)).permissions[0]?.callId;
  expect(await readCall()).toBe(first);
  await db.commit(stranger, { bindPermission: { permissionId, callId: randomUUID() } });
  expect(await readCall()).toBe(first);
  await db.commit(owner, { bindPermission: { permissionId, callId: second } });
  expect(await readCall()).toBe(second);
  await db.commit(owner, { bindPermission: { permissionId, callId: null } });
  expect(await readCall()).toBe(null);
});
