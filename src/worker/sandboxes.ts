import { mkdir, realpath } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { SpawnSpec } from "../core/attempt.ts";
import type { Config } from "../core/config.ts";
import { DOOR_ORIGIN_INSIDE, type ModelDoor } from "../core/model.ts";
import type { SandboxReport } from "../core/sandbox.ts";
import { defaultBounds, probeResourceControl, type ResourceGroup } from "../workspace/cgroup.ts";
import type { HeldSpec } from "../workspace/custody.ts";
import type { CustodyProbe } from "../workspace/probe.ts";
import { removeFolder } from "../workspace/remove.ts";
import { createSandbox, type Sandbox } from "../workspace/sandbox.ts";
import type { SandboxHost } from "../workspace/sandbox-mounts.ts";
import { probeSandbox } from "../workspace/sandbox-probe.ts";
import { STORED, type Workspace } from "../workspace/storage.ts";

/** The settings of sandboxes. */
export type SandboxSettings = Pick<
  Config,
  | "dataDir"
  | "sandbox"
  | "sandboxNetwork"
  | "sandboxReadPaths"
  | "sandboxWritePaths"
  | "memoryBytesMax"
  | "processesMax"
  | "cpusMax"
>;

/** What the commands of one attempt are bounded by. */
export interface AttemptSandbox {
  readonly sandbox: Sandbox;
  readonly group: ResourceGroup | null;
  /** Whether all that runs in it can be frozen. */
  readonly canFreeze: boolean;
  /** The door to models as commands see it. */
  showDoor(door: ModelDoor): ModelDoor;
  /** Takes the groups away, once nothing of the attempt lives. Never rejects. */
  close(): Promise<void>;
}

/** The sandboxes that this host allows. */
export interface Sandboxes {
  readonly report: SandboxReport;
  open(workspace: Workspace, name: string): Promise<AttemptSandbox>;
}

/** Folder of the agents that Stint has installed, inside the data folder. */
const AGENTS = "agents";

/** Finds out what this host allows; see `probeSandbox`. */
export async function openSandboxes(
  settings: SandboxSettings,
  probe: CustodyProbe,
): Promise<Sandboxes> {
  const { sandbox: wanted, dataDir } = settings;
  const host = await describeHost(settings);
  const bwrap = probe.level === "bwrap" ? probe.bwrap : null;
  const { level, reason } = await probeSandbox(wanted, bwrap, host);
  const { memoryBytesMax, processesMax, cpusMax } = settings;
  const bounds = { ...defaultBounds(), processesMax, cpusMax };
  const bounding =
    level === "none" ? null : { ...bounds, ...(memoryBytesMax && { memoryBytesMax }) };
  // Only commands that wait for their group are surely in it.
  const control = bwrap === null ? null : await probeResourceControl(bounding);
  return {
    report: { level, wanted, reason, limits: control?.isBounding ? "cgroup" : "none" },
    async open(workspace, name) {
      const scratch = join(workspace.store, STORED.scratch);
      await removeFolder(scratch);
      await mkdir(scratch, { mode: 0o700 });
      const { path: tree, home } = workspace;
      const folders = { tree, home, scratch };
      const agents = join(dataDir, AGENTS);
      const shown = { ...host, readable: [...host.readable, agents] };
      const sandbox = createSandbox(level, folders, shown);
      const group = control && (await control.create(name));
      return {
        sandbox,
        group,
        canFreeze: control?.canFreeze ?? false,
        showDoor: (door) => (sandbox.hasNetwork ? door : moveDoor(door)),
        close: async () => group?.close(),
      };
    },
  };
}

/**
 * A command that reaches the door to models, and by it the hosts that are listed, over loopback,
 * where its sandbox has no network.
 */
export function bridgeToDoor(sandbox: Sandbox, door: ModelDoor, spec: SpawnSpec): HeldSpec {
  if (sandbox.hasNetwork) return spec;
  const { socketPath, bridgePath } = door;
  const { port } = new URL(DOOR_ORIGIN_INSIDE);
  return {
    ...spec,
    within: [process.execPath, bridgePath, socketPath, port],
    env: { ...door.proxyEnvironmentAt(DOOR_ORIGIN_INSIDE), ...spec.env },
    exposes: [...(spec.exposes ?? []), socketPath, bridgePath],
  };
}

function moveDoor(door: ModelDoor): ModelDoor {
  return { ...door, tcpUrl: DOOR_ORIGIN_INSIDE, urls: door.urlsAt(DOOR_ORIGIN_INSIDE) };
}

/** Node itself is shown wherever it lies: the door to models needs it. */
async function describeHost(settings: SandboxSettings): Promise<SandboxHost> {
  const node = dirname(dirname(await realpath(process.execPath)));
  const named = settings.sandboxReadPaths.map((path) => resolve(path));
  return {
    readable: [...(node === "/usr" || node === "/" ? [] : [node]), ...named],
    writable: settings.sandboxWritePaths.map((path) => resolve(path)),
    hidden: [await realpath(settings.dataDir).catch(() => resolve(settings.dataDir))],
    hasNetwork: settings.sandboxNetwork === "host",
  };
}
