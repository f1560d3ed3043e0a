import { posix } from "node:path";

/**
 * A path as the model writes it, relative to the workspace: models often give the absolute one.
 * What leads out stays as it is, for the workspace to refuse.
 */
export function relativizePath(path: string, workspace: string): string {
  const root = workspace.endsWith("/") ? workspace : `${workspace}/`;
  const normal = posix.normalize(path);
  if (`${normal}/` === root || normal === root) return ".";
  const relative = normal.startsWith(root) ? normal.slice(root.length) : normal;
  return relative.length > 1 && relative.endsWith("/") ? relative.slice(0, -1) : relative;
}
