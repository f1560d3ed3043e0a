import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { loadConfig, type Config } from "../core/config.ts";
import { StintError } from "../core/error.ts";

const FILE_NAME = "stint.config.json";

/** Where a configuration comes from. */
export interface ConfigPlace {
  /** By setting name, as commander reads `--lease-duration-ms`. */
  readonly flags: Readonly<Record<string, unknown>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
}

/**
 * Loads the configuration: flags, then the environment, then `stint.config.json` in the current
 * folder. `dataDir` comes back absolute. @throws {config_invalid}
 */
export async function loadCliConfig({ flags, env, cwd }: ConfigPlace): Promise<Config> {
  const config = loadConfig({ flags, env, file: await readConfigFile(join(cwd, FILE_NAME)) });
  return { ...config, dataDir: resolve(cwd, config.dataDir) };
}

async function readConfigFile(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new StintError("config_invalid", `cannot read ${path}: ${(cause as Error).message}`, {
      cause,
    });
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new StintError("config_invalid", `${path} is no JSON: ${(cause as Error).message}`, {
      cause,
    });
  }
}
