import { createClient, type StintClient } from "../client.ts";
import type { Config } from "../core/config.ts";
import { StintError } from "../core/error.ts";
import { readServerFile, serverFilePath, type ServerFile } from "./server-file.ts";

/**
 * A client of the server that flags or environment name, else of the one that runs for the data
 * folder.
 * @throws {server_unreachable} when no server is named and none has written its file.
 */
export async function connectTo(config: Config): Promise<StintClient> {
  const file = await readServerFile(config.dataDir);
  if (config.url !== undefined) {
    const isSame = parseServerUrl(config.url).origin === (file && new URL(file.url).origin);
    const token = config.token ?? (isSame ? file?.token : undefined);
    return createClient({ url: config.url, token });
  }
  if (file === null) {
    throw new StintError(
      "server_unreachable",
      `no server runs for the data folder ${config.dataDir}: there is no ${serverFilePath(config.dataDir)}`,
    );
  }
  const token = config.token ?? file.token;
  const fetch = config.token === undefined ? followServerFile(config.dataDir, file) : undefined;
  return createClient({ url: file.url, token, fetch });
}

/**
 * A fetch that finds the server again after a restart gave it another port or token. It reads the
 * file anew only when the server does not answer or refuses the token.
 */
function followServerFile(dataDir: string, first: ServerFile): typeof globalThis.fetch {
  let current = first;
  const findNew = async (): Promise<boolean> => {
    const found = await readServerFile(dataDir).catch(() => null); // the old one is as good
    const isNew = found !== null && (found.url !== current.url || found.token !== current.token);
    if (isNew) current = found;
    return isNew;
  };
  const fetchCurrent = (input: Parameters<typeof fetch>[0], init?: RequestInit) => {
    const headers = new Headers(init?.headers);
    headers.set("authorization", `Bearer ${current.token}`);
    const path = String(input).slice(first.url.replace(/\/+$/, "").length);
    return fetch(current.url.replace(/\/+$/, "") + path, { ...init, headers });
  };
  return async (input, init) => {
    try {
      const response = await fetchCurrent(input, init);
      if (response.status !== 401 || !(await findNew())) return response;
      await response.body?.cancel();
    } catch (error) {
      if (init?.signal?.aborted || !(await findNew())) throw error;
    }
    return fetchCurrent(input, init);
  };
}

function parseServerUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url?.protocol === "http:" || url?.protocol === "https:") return url;
  throw new StintError("config_invalid", `"${text.slice(0, 200)}" is no URL of a server`, {
    remedy: "Give --url or STINT_URL as in http://127.0.0.1:4700.",
  });
}
