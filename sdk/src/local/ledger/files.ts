import { builtin } from "../builtin.ts";

/** What the file store uses of `node:fs`. */
export interface Files {
  openSync(path: string, flags: string, mode?: number): number;
  closeSync(fd: number): void;
  readSync(fd: number, into: Uint8Array, at: number, length: number, position: number): number;
  writeSync(fd: number, bytes: Uint8Array, at: number, length: number): number;
  ftruncateSync(fd: number, length: number): void;
  fdatasyncSync(fd: number): void;
  fdatasync(fd: number, done: (error: Error | null) => void): void;
  fstatSync(fd: number): FileFacts;
  statSync(path: string, options: { readonly throwIfNoEntry: false }): FileFacts | undefined;
  lstatSync(path: string, options: { readonly throwIfNoEntry: false }): FileFacts | undefined;
  mkdirSync(path: string, options: { readonly recursive: true; readonly mode: number }): unknown;
  readdirSync(path: string): readonly string[];
  readFileSync(path: string): Uint8Array;
  readlinkSync(path: string): string;
  realpathSync(path: string): string;
  renameSync(from: string, to: string): void;
  symlinkSync(target: string, path: string): void;
  unlinkSync(path: string): void;
}

export interface FileFacts {
  readonly dev: number;
  readonly ino: number;
  readonly size: number;
  readonly mtimeMs: number;
  isFile(): boolean;
}

/** What it uses of `node:path`. */
export interface Paths {
  resolve(...parts: readonly string[]): string;
  dirname(path: string): string;
  basename(path: string, ending?: string): string;
}

/** The machine's files, where the runtime has them: `null` in browsers and on the edge. A Worker's files are gone when it ends, and are none. */
export function machineFiles(): { readonly files: Files; readonly paths: Paths } | null {
  const { navigator }: { readonly navigator?: { readonly userAgent?: string } } = globalThis as object;
  if (navigator?.userAgent === "Cloudflare-Workers") return null;
  const files = builtin<Files>("node:fs");
  const paths = builtin<Paths>("node:path");
  if (typeof files?.openSync !== "function" || typeof paths?.resolve !== "function") return null;
  // Who has the one has all of the module: these functions are as old as the module, and none of them comes alone.
  return { files: files as Files, paths: paths as Paths };
}

/** The code of a system's error, such as `ENOENT`; empty when it has none. */
export function codeOf(error: unknown): string {
  const { code }: { readonly code?: unknown } = Object(error);
  return typeof code === "string" ? code : "";
}

/** Gives what `act` gives, or `null` when there is no such file. */
export function unlessMissing<T>(act: () => T): T | null {
  try {
    return act();
  } catch (error) {
    if (codeOf(error) === "ENOENT") return null;
    throw error;
  }
}
