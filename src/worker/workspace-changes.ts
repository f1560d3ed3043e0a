import type { NewEvent } from "../core/event.ts";
import { truncateText, type JsonObject } from "../core/json.ts";
import type { Store } from "../core/store.ts";
import type { FileDiff } from "../core/workspace.ts";

/** Largest diff carried by one event, in bytes; JSON may write a byte as six. */
const DIFF_BYTES_MAX = 65_536;
const PAGE_SIZE = 1_000;

/** Events for the files that changed without an event of their own: a command wrote them. */
export async function describeUnreported(
  store: Pick<Store, "readEvents">,
  sessionId: string,
  changes: readonly FileDiff[],
): Promise<readonly NewEvent[]> {
  if (changes.length === 0) return [];
  const reported = await readReportedPaths(store, sessionId);
  return changes.filter((change) => !reported.has(change.path)).map(describeChange);
}

async function readReportedPaths(
  store: Pick<Store, "readEvents">,
  sessionId: string,
): Promise<ReadonlySet<string>> {
  const paths = new Set<string>();
  let after = 0;
  for (;;) {
    const query = { after, limit: PAGE_SIZE, types: ["file_change"] } as const;
    const page = await store.readEvents(sessionId, query);
    for (const event of page) paths.add(readPath(event.data));
    const last = page.at(-1);
    if (!last || page.length < PAGE_SIZE) return paths;
    after = last.seq;
  }
}

/** A path whose bytes no text can hold is stored as bytes; a diff names it as far as text can. */
function readPath({ path, pathBase64 }: JsonObject): string {
  if (typeof path === "string") return path;
  return Buffer.from(String(pathBase64), "base64").toString("utf8");
}

function describeChange(change: FileDiff): NewEvent {
  const { path, oldPath, action, patch, binary } = change;
  const diff = patch === undefined ? null : truncateText(patch, DIFF_BYTES_MAX);
  const isTruncated = change.truncated === true || (diff?.omittedBytes ?? 0) > 0;
  return {
    type: "file_change",
    data: {
      path,
      action,
      ...(oldPath !== undefined && { oldPath }),
      ...(diff && { diff: diff.text }),
      ...(isTruncated && { diffTruncated: true }),
      ...(binary && { binary }),
    },
  };
}
