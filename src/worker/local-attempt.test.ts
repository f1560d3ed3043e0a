import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { systemClock as clock } from "../../test/system-clock.ts";
import { requireTool } from "../../test/tools.ts";
import { silentLogger } from "../core/log.ts";
import type { SessionSnapshot } from "../core/session.ts";
import { createLocalWorkspaces } from "./local-workspaces.ts";

it("a restore that changed something tells the log where it can be had back", async (context) => {
  requireTool(context, "git");
  const dataDir = await mkdtemp(join(tmpdir(), "stint-attempt-"));
  const lines: Record<string, unknown>[] = [];
  const logger = {
    ...silentLogger,
    info: (fields: Readonly<Record<string, unknown>>) => void lines.push(fields),
  };
  const workspaces = await createLocalWorkspaces({
    config: {
      ...{ dataDir, allowedRoots: [], environment: [], ignoredBytesMax: 1_000_000 },
      logLevel: "silent",
    },
    ...{ env: process.env, clock, logger },
  });
  const session = {
    ...{ id: "s1", epoch: 1, recovery: "restore", workspace: { mode: "copy" } },
  } as unknown as SessionSnapshot;
  const attempt = await workspaces.open(session, new AbortController().signal);
  try {
    await attempt.restore(attempt.base);
    expect(lines).toEqual([]);
    const file = join(attempt.hostPath ?? attempt.path, "file");
    await writeFile(file, "undone\n");
    await attempt.restore(attempt.base);
    await expect(readFile(file)).rejects.toThrow("ENOENT");
    const told = { sessionId: "s1", snapshotId: attempt.base, written: 0, removed: 1 };
    expect(lines).toMatchObject([told]);
    await attempt.restore(String(lines[0]?.["undo"]));
    expect(await readFile(file, "utf8")).toBe("undone\n");
  } finally {
    await attempt.close();
    await workspaces.close();
    await rm(dataDir, { recursive: true });
  }
}, 60_000);
