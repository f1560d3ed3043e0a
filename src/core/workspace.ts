import { z } from "zod";

/**
 * Where a session works. `copy` (default): its own copy of `source` (a path or a git URL; none: an
 * empty directory), at `ref` where it is a repository. `in-place`: the directory itself.
 */
export const workspaceRequestSchema = z
  .strictObject({
    mode: z.enum(["copy", "in-place"]).default("copy"),
    source: z.string().min(1).max(4_096).optional(),
    ref: z.string().min(1).max(256).optional(),
  })
  .refine((request) => request.mode === "copy" || request.source !== undefined, {
    message: "in-place needs a source",
    path: ["source"],
  });
/** Where a session works. */
export type WorkspaceRequest = z.infer<typeof workspaceRequestSchema>;

/** A stored state of a workspace; opaque, comparable for equality. */
export type SnapshotId = string;

/** One changed file of a diff. */
export interface FileDiff {
  /** As far as text can name it. */
  readonly path: string;
  /** The name as bytes, where text cannot hold it. */
  readonly pathBase64?: string;
  readonly oldPath?: string;
  readonly oldPathBase64?: string;
  readonly action: "created" | "modified" | "deleted" | "renamed";
  readonly additions: number;
  readonly deletions: number;
  readonly binary: boolean;
  /** Unified diff; absent for binary files and beyond the size cap. */
  readonly patch?: string;
  /** The patch as bytes, where text cannot hold it. */
  readonly patchBase64?: string;
  readonly truncated?: boolean;
}

/** What changed between two snapshots. */
export interface WorkspaceDiff {
  readonly files: readonly FileDiff[];
  /** Changed files beyond those listed. @default 0 */
  readonly filesOmitted?: number;
  readonly additions: number;
  readonly deletions: number;
  /** The whole change as one unified diff, capped; `truncated` says when. */
  readonly patch: string;
  readonly truncated: boolean;
}

/** Outcome of bringing a session's changes back to its source. */
export interface ApplyResult {
  readonly applied: readonly string[];
  readonly conflicts: readonly string[];
}

/** Bytes of a file inside a workspace, or a part of them. */
export interface FileContent {
  readonly bytes: Uint8Array;
  readonly sizeBytes: number;
  /** True when the file goes on after these bytes. */
  readonly truncated: boolean;
}

/** One entry of a directory listing, path relative to the workspace. */
export interface FileEntry {
  readonly path: string;
  readonly kind: "file" | "directory" | "link" | "other";
  readonly sizeBytes: number;
}

/** One line that a search found. */
export interface FileMatch {
  readonly path: string;
  readonly line: number;
  readonly text: string;
}

/**
 * Files of one workspace. Every path is relative and stays inside, whatever links or `..` it
 * holds, also when they change meanwhile.
 * @throws {path_outside_workspace} for a path that would leave it.
 */
export interface WorkspaceFiles {
  read(path: string, options?: { offset?: number; bytesMax?: number }): Promise<FileContent>;
  /** Creates or replaces a file whole, parents included. Says which of the two it did. */
  write(path: string, bytes: Uint8Array): Promise<"created" | "modified">;
  /**
   * Where a path leads once its links are followed, whether or not anything is there: relative, or
   * absolute where it leads out. `seenAs` is the absolute path that the workspace has for whoever
   * names it. It opens nothing and promises nothing of what the path means later.
   */
  resolve(path: string, seenAs: string): Promise<string>;
  list(
    path: string,
    options?: { depthMax?: number; entriesMax?: number },
  ): Promise<{ entries: readonly FileEntry[]; truncated: boolean }>;
  search(
    pattern: string,
    options?: { path?: string; matchesMax?: number; isRegex?: boolean },
  ): Promise<{ matches: readonly FileMatch[]; truncated: boolean }>;
}

/** A workspace that is ready to work in. */
export interface PreparedWorkspace {
  /** Where commands run. */
  readonly path: string;
  /** The agent's home directory, outside the workspace. */
  readonly home: string;
  /** The state before the agent did anything. */
  readonly base: SnapshotId;
  readonly isGit: boolean;
}
