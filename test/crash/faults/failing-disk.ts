import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { endProcessesUnder } from "../../processes-under.ts";
import { runTool, type Scene } from "./scene.ts";

const PROGRAM = fileURLToPath(new URL("./volatile-disk.fixture.mjs", import.meta.url));

/** What a host must have for a disk that fails. */
export const DISK_NEEDS = ["root", "/dev/fuse", "/dev/loop-control", "mkfs.ext4", "losetup"];

/** How a disk is made. */
export interface DiskOptions {
  readonly sizeMb: number;
  /** A folder whose content is on the disk from the start. */
  readonly content: string;
  /** False: ext4 hands errors on to its users instead of going read-only. @default true */
  readonly hasJournal?: boolean;
}

/** What the power cut left of the write cache. */
export interface LostPower {
  /** Sectors that were written but not flushed, and those of them that reached the disk even so. */
  readonly sectors: number;
  readonly kept: number;
}

/**
 * An ext4 file system on a loop device, on a disk whose write cache is the memory of a process of
 * ours: a power cut really loses what was not flushed, and flushes really fail.
 */
export class FailingDisk {
  /** Where the file system is mounted. */
  readonly path: string;
  readonly #image: string;
  readonly #device: string;
  #server: ChildProcess | null = null;
  readonly #heard: Record<string, unknown>[] = [];
  #onHeard: () => void = () => {};

  private constructor(folder: string) {
    this.path = join(folder, "mounted");
    this.#image = join(folder, "image");
    this.#device = join(folder, "device");
  }

  /** Makes a disk and mounts it; the scene takes it down. */
  static async create(scene: Scene, name: string, options: DiskOptions): Promise<FailingDisk> {
    const folder = join(scene.folder, name);
    mkdirSync(folder);
    const disk = new FailingDisk(folder);
    closeSync(openSync(disk.#image, "w"));
    truncateSync(disk.#image, options.sizeMb * 2 ** 20);
    const features = options.hasJournal === false ? ["-O", "^has_journal"] : [];
    const quick = ["-E", "nodiscard,lazy_itable_init=1", "-m", "0"];
    const content = ["-d", options.content];
    await runTool("mkfs.ext4", ["-q", "-F", ...quick, ...features, ...content, disk.#image]);
    mkdirSync(disk.path);
    writeFileSync(disk.#device, "");
    const unmount = (): void => disk.#unmountNow();
    process.once("exit", unmount);
    scene.onEnd(async () => {
      await disk.#takeDown();
      process.off("exit", unmount);
    });
    await disk.powerOn();
    return disk;
  }

  /** Attaches the disk as it is and mounts its file system, which recovers by its journal. */
  async powerOn(): Promise<void> {
    await this.#startServer();
    const loop = await runTool("losetup", ["--find", "--show", this.#device]);
    try {
      await runTool("mount", ["-t", "ext4", loop, this.path]);
    } finally {
      // Goes with the last user, here the mount.
      await runTool("losetup", ["--detach", loop]);
    }
  }

  /**
   * Cuts the power: nothing that was not flushed is on the disk, but for sectors that the seed
   * chooses. Every process that used the disk is killed, as in a machine without power.
   */
  async cutPower(seed: number): Promise<LostPower> {
    const lost = await this.tell(`cut ${seed}`);
    await this.#takeDown();
    return { sectors: Number(lost["sectors"]), kept: Number(lost["kept"]) };
  }

  /** Kills who uses the disk, unmounts it in good order and mounts it anew. */
  async remount(): Promise<void> {
    await this.#takeDown();
    await this.powerOn();
  }

  /** Gives the disk an order and waits for its answer; see volatile-disk.fixture.mjs. */
  async tell(order: string): Promise<Record<string, unknown>> {
    const server = this.#server;
    if (server === null) throw new Error("the disk has no power");
    this.#heard.length = 0;
    server.stdin?.write(`${order}\n`);
    return this.#hear(order.split(" ")[0] as string);
  }

  async #startServer(): Promise<void> {
    this.#heard.length = 0;
    const server = spawn(process.execPath, [PROGRAM, this.#image, this.#device, this.path], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#server = server;
    server.stdin.on("error", () => undefined); // It is gone; whoever waits for it hears so.
    server.once("exit", () => {
      this.#heard.push({ msg: "gone" });
      this.#onHeard();
    });
    createInterface({ input: server.stdout }).on("line", (line) => {
      this.#heard.push(JSON.parse(line) as Record<string, unknown>);
      this.#onHeard();
    });
    await this.#hear("ready");
  }

  async #hear(msg: string): Promise<Record<string, unknown>> {
    for (;;) {
      const found = this.#heard.find((line) => line["msg"] === msg);
      if (found !== undefined) return found;
      if (this.#heard.some((line) => line["msg"] === "gone")) throw new Error("the disk is gone");
      await new Promise<void>((resolve) => (this.#onHeard = resolve));
    }
  }

  async #takeDown(): Promise<void> {
    await endProcessesUnder(this.path);
    for (let tries = 0; tries < 100 && isMounted(this.path); tries++) {
      if (tries > 0) await delay(20);
      spawnSync("umount", [this.path]);
    }
    const server = this.#server;
    this.#server = null;
    if (server !== null && server.exitCode === null && server.signalCode === null) {
      const ended = new Promise((resolve) => server.once("exit", resolve));
      server.stdin?.end();
      await ended;
    }
    this.#unmountNow();
  }

  #unmountNow(): void {
    for (const path of [this.path, this.#device]) {
      if (isMounted(path)) spawnSync("umount", ["--lazy", path]);
    }
  }
}

function isMounted(path: string): boolean {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  return mounts.some((line) => line.split(" ")[4] === path);
}
