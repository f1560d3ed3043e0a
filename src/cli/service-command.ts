import { Option } from "commander";
import { SETTINGS, type SettingName } from "../core/config.ts";
import { addExamples, type CommandModule } from "./command.ts";
import type { RuntimeOptions } from "./runtime.ts";

/** Settings that are options of every command already. */
const GLOBAL: ReadonlySet<SettingName> = new Set(["url", "token", "dataDir"]);

/** What only some services take beside the settings. */
export interface ServiceOptions {
  readonly demo?: boolean;
}

/** A command that runs until it is stopped; every setting is an option of it. */
export function defineService(service: {
  readonly examples: readonly string[];
  /** Settings that lead the help; the others are taken too. */
  readonly settings: readonly SettingName[];
  readonly takesDemo?: boolean;
  readonly run: (options: RuntimeOptions) => Promise<number>;
}): CommandModule<ServiceOptions> {
  return {
    configure(command) {
      if (service.takesDemo === true) {
        command.option("--demo", "show a session that needs no key, where none has run yet");
      }
      for (const { name, flag, description } of SETTINGS) {
        if (GLOBAL.has(name)) continue;
        const option = new Option(`${flag} <value>`, description);
        command.addOption(service.settings.includes(name) ? option : option.hideHelp());
      }
      addExamples(command, service.examples);
    },
    async run({ loadConfig, output, signal }, _args, options) {
      const { demo } = options;
      const config = await loadConfig({ ...options });
      return service.run({ config, output, signal, ...(demo === true ? { demo } : {}) });
    },
  };
}
