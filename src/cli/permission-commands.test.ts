import { afterEach, beforeEach, expect, it } from "vitest";
import { startFakeServer, type FakeServer } from "../client/fake-server.testsuite.ts";
import type { Permission } from "../client.ts";
import { callCli, type CallOptions } from "./call-cli.testsuite.ts";

const ASKED: Permission = {
  ...{ id: "7f3a91c2-0000-4000-8000-000000000000", tool: "execute", kind: "execute" },
  ...{ title: "deploy", cwd: "/workspace", input: { command: "./deploy.sh --all" }, paths: [] },
  ...{ status: "pending", note: null, decidedBy: null, decidedAt: null },
  ...{ askedAt: "2026-01-02T03:04:05.678Z", expiresAt: "2026-01-03T03:04:05.678Z" },
};
const OTHER: Permission = { ...ASKED, id: "aaaa91c2-0000-4000-8000-000000000000", title: "again" };

let server: FakeServer;
let id: string;
beforeEach(async () => {
  server = await startFakeServer();
  ({ id } = server.addSession({ status: "active", waitingFor: "permission" }));
  server.permissions.push(ASKED);
});
afterEach(() => server.close());

const call = (argv: readonly string[], options: CallOptions = {}) =>
  callCli(argv, { server, ...options });
const onTerminal = (argv: readonly string[], input: string) =>
  call(argv, { input, isTTY: true, columns: 80 });
const decided = (): unknown[] =>
  server.seen.filter(({ method }) => method === "POST").map(({ body }) => body?.["decision"]);

it("shows of an active session that it waits for leave, what is asked and what to do", async () => {
  const { stdout } = await call(["show", id]);
  expect(stdout).toContain("NEEDS YOU");
  expect(stdout).toMatch(/waits for +permission/);
  for (const part of ["deploy", "7f3a91c2", "./deploy.sh --all", "/workspace", "until"])
    expect(stdout).toContain(part);
  expect(stdout).toContain(`stint approve ${id}`);
  const shown = JSON.parse((await call(["show", id, "--json"])).stdout) as { asks: unknown };
  expect(shown.asks).toMatchObject([{ id: ASKED.id, input: ASKED.input }]);
});

it("decides at once where nobody sits at a terminal, and prints what was decided", async () => {
  const { code, stdout } = await call(["approve", id]);
  expect([code, decided()]).toEqual([0, ["allow"]]);
  for (const part of ["allowed", "deploy", "./deploy.sh --all", "/workspace"])
    expect(stdout).toContain(part);
  const denied = await call(["deny", id, "7f3a"], { isTTY: true, columns: 80 });
  expect(denied.stdout).toContain("denied");
});

it.each(["", "7f3a91c2"])(
  "shows what is asked before it allows it on a terminal, and decides nothing without a yes: %j",
  async (permission) => {
    const argv = ["approve", id, ...(permission === "" ? [] : [permission])];
    for (const input of ["n\n", "\n", "", "yesterday\n"]) {
      const { code, stdout } = await onTerminal(argv, input);
      expect([code, decided()]).toEqual([1, []]);
      expect(stdout).toContain("./deploy.sh --all");
      expect(stdout).toContain("Nothing is decided.");
    }
    const { code, stdout } = await onTerminal(argv, "y\n");
    expect([code, decided()]).toEqual([0, ["allow"]]);
    expect(stdout.indexOf("./deploy.sh")).toBeLessThan(stdout.indexOf("Allow it?"));
  },
);

it("shows all that --all would allow, and asks once; --yes asks nothing", async () => {
  server.permissions.push(OTHER);
  const { stdout } = await onTerminal(["approve", id, "--all"], "n\n");
  for (const part of ["deploy", "again", "Allow these 2?"]) expect(stdout).toContain(part);
  expect(decided()).toEqual([]);
  expect((await onTerminal(["approve", id, "--all", "--yes"], "")).code).toBe(0);
  expect(decided()).toEqual(["allow", "allow"]);
});

it("tells whoever waits for a session what it asks, and how to answer", async () => {
  const add = server.addSession;
  server.addSession = (fields) => {
    const session = add(fields);
    queueMicrotask(() => {
      const data = { permissionId: ASKED.id, status: "requested", title: "deploy" };
      server.append(session.id, "permission", data);
      server.append(session.id, "state_changed", { from: "active", to: "completed", reason: "x" });
    });
    return session;
  };
  const { code, stderr } = await call(["run", "x", "--wait"]);
  expect(code).toBe(0);
  for (const part of ["asks leave", "./deploy.sh --all", "stint approve", "7f3a91c2"])
    expect(stderr).toContain(part);
});
