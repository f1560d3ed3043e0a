import { chmod, lstat, opendir, rm } from "node:fs/promises";
import { join } from "node:path";

/** Removes a folder with all below it, also where an agent took its own permissions away. */
export async function removeFolder(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EACCES" && code !== "EPERM") throw error;
    await openFolders(path);
    await rm(path, { recursive: true, force: true });
  }
}

async function openFolders(path: string): Promise<void> {
  const found = await lstat(path);
  if (!found.isDirectory()) return;
  await chmod(path, 0o700);
  for await (const { name } of await opendir(path)) await openFolders(join(path, name));
}
