import { join } from "node:path";
import { StintError } from "../core/error.ts";
import type { SnapshotId } from "../core/workspace.ts";
import { readHeadCommit } from "./agent-repository.ts";
import { GitFailure, readGitLine, runGit, type GitAnswer, type GitCall } from "./git.ts";
import { nameTree } from "./git-snapshots.ts";
import { createSnapshot, openSnapshots, requireSnapshot } from "./snapshot.ts";
import { resolveSource } from "./source.ts";
import { STORED, type Workspace } from "./storage.ts";

/** Which result, and how its commit is told. */
export interface ResultBranchOptions {
  readonly message: string;
  /** @default the state now, of which a snapshot is taken */
  readonly to?: SnapshotId;
}

/** A branch of the source that holds the result of a session. */
export interface ResultBranch {
  /** Path of the repository. */
  readonly target: string;
  readonly branch: string;
  readonly commit: string;
  /** False when it was there already, as it is. */
  readonly isNew: boolean;
}

/**
 * Brings the result of a session to its source as a branch `stint/<id>`: one commit with all files
 * of the result, on the commit that the session started from. What was uncommitted in the source
 * then is part of it. Objects and the branch are added to the source, and nothing else is touched:
 * neither its index, nor its files, nor a branch that is there. Null when the result is that commit.
 * Idempotent.
 * @throws {workspace_invalid} where the source is no git repository of this host, or lacks the commit.
 * @throws {workspace_conflict} where the branch is there with another content.
 * @throws {workspace_gone} when the files of the session are no longer there.
 */
export async function createResultBranch(
  workspace: Workspace,
  options: ResultBranchOptions,
): Promise<ResultBranch | null> {
  const target = await resolveRepository(workspace);
  const branch = `stint/${workspace.sessionId}`;
  const to = options.to ?? (await createSnapshot(workspace));
  const start = await readStart(workspace);
  const gitDir = join(workspace.store, STORED.shadow);
  const call = { cwd: workspace.store, gitDir };
  await requireSnapshot(openSnapshots(workspace), to);
  const tree = await readGitLine({ ...call, args: ["rev-parse", "--verify", nameTree(to)] });
  if (start !== null) await requireCommit(target, start);
  if (start !== null && (await readTree(target, start)) === tree) return null;
  const found = await readBranch(target, branch);
  if (found !== null) {
    if (found.tree === tree && found.parent === start) {
      return { target, branch, commit: found.commit, isNew: false };
    }
    throw taken(target, branch);
  }
  await copyTree(call, tree, target);
  const on = start === null ? [] : ["-p", start];
  const commit = await readGitLine({
    ...{ cwd: target, args: ["commit-tree", tree, ...on], input: `${options.message}\n` },
  });
  // The last word says that there must be no such branch, whoever has made one meanwhile.
  const args = ["update-ref", `refs/heads/${branch}`, commit, "0".repeat(commit.length)];
  const { code, stderr } = await runGit({ cwd: target, args, codes: [0, 128] });
  if (code !== 0) throw taken(target, branch, stderr);
  return { target, branch, commit, isNew: true };
}

async function resolveRepository({ source, isLocalSource, ...rest }: Workspace): Promise<string> {
  if (rest.snapshots === "git" && isLocalSource && source !== null) {
    const found = await resolveSource({ mode: "copy", source });
    if (found.kind === "repository") {
      const args = ["rev-parse", "--show-object-format"];
      if ((await readGitLine({ cwd: found.path, args })) === "sha1") return found.path;
    }
  }
  throw new StintError("workspace_invalid", "its source is no git repository of this host", {
    remedy: "Apply its changes to a folder: stint apply ID --to FOLDER. (Hashes must be SHA-1.)",
  });
}

/** The commit that the session started from; null where there was none yet. */
async function readStart(workspace: Workspace): Promise<string | null> {
  const stored = await openSnapshots(workspace).readRepository(workspace.base);
  return stored === null ? null : readHeadCommit(stored);
}

async function requireCommit(cwd: string, commit: string): Promise<void> {
  const args = ["cat-file", "-e", "--end-of-options", `${commit}^{commit}`];
  const { code } = await runGit({ cwd, args, codes: [0, 1, 128] });
  if (code === 0) return;
  const message = `${cwd} does not have the commit ${commit} that the session started from`;
  throw new StintError("workspace_invalid", message, { fields: { path: cwd, commit } });
}

function readTree(cwd: string, commit: string): Promise<string> {
  return readGitLine({ cwd, args: ["rev-parse", "--verify", `${commit}^{tree}`] });
}

async function readBranch(
  cwd: string,
  branch: string,
): Promise<{
  readonly commit: string;
  readonly tree: string;
  readonly parent: string | null;
} | null> {
  const args = ["rev-parse", "--verify", "--quiet", `refs/heads/${branch}`];
  const { code, stdout } = await runGit({ cwd, args, codes: [0, 1] });
  if (code !== 0) return null;
  const commit = stdout.toString("utf8").trim();
  const text = (await runGit({ cwd, args: ["cat-file", "commit", commit] })).stdout.toString(
    "utf8",
  );
  const [head = ""] = text.split("\n\n", 1);
  const parents = [...head.matchAll(/^parent (\S+)$/gm)].map(([, parent]) => parent);
  const tree = /^tree (\S+)$/m.exec(head)?.[1] ?? "";
  return { commit, tree, parent: parents.length === 0 ? null : parents.join(" ") };
}

/** The files of the result, without anything else that a snapshot holds. */
async function copyTree(
  from: Pick<GitCall, "cwd" | "gitDir">,
  tree: string,
  target: string,
): Promise<void> {
  const args = ["pack-objects", "--revs", "--stdout", "-q"];
  const packed: GitAnswer = await runGit({ ...from, args, input: `${tree}\n` });
  if (packed.truncated) {
    throw new StintError("workspace_invalid", "the result is too large to be made a branch");
  }
  try {
    // Refuses names that are harmless in a snapshot and not elsewhere, as `.GIT`.
    const unpack = ["unpack-objects", "-q", "--strict"];
    await runGit({ cwd: target, args: unpack, input: packed.stdout });
  } catch (error) {
    if (!(error instanceof GitFailure)) throw error;
    throw new StintError("workspace_conflict", `${target} does not take it: ${error.stderr}`, {
      cause: error,
    });
  }
}

function taken(target: string, branch: string, said = ""): StintError {
  const message = said === "" ? `it has a branch ${branch} with another content` : said.trim();
  return new StintError("workspace_conflict", `${target}: ${message}`, {
    remedy: `Rename or delete the branch first: git branch -m ${branch} NAME`,
    fields: { path: target, branch },
  });
}
