import { builtin } from "../builtin.ts";
import { type ChainEnd, parsedLine } from "./chain.ts";
import { type Files, type Paths, unlessMissing } from "./files.ts";
import { firstLine, tailOf } from "./line_file.ts";

/**
 * Files beside a ledger into which it was rotated: by its size, or by somebody's `mv ledger.jsonl ledger-20250115.jsonl`, and `gzip` after that. A name
 * that does not go on with a digit, such as `ledger-support.jsonl`, is another ledger's: nothing in a line would tell.
 */
export interface Rotated {
  readonly path: string;
  readonly isPacked: boolean;
}

export function rotatedOf(files: Files, paths: Paths, path: string): readonly Rotated[] {
  const folder = paths.dirname(path);
  const stem = `${paths.basename(path, ".jsonl")}-`;
  return (unlessMissing(() => files.readdirSync(folder)) ?? [])
    .filter((name) => name.startsWith(stem) && /^[0-9].*\.jsonl(?:\.gz)?$/.test(name.slice(stem.length)))
    .map((name) => ({ path: paths.resolve(folder, name), isPacked: name.endsWith(".gz") }));
}

/** The files that are not packed, with the place of their first line, in the order of it. */
export function openable(files: Files, rotated: readonly Rotated[]): readonly { readonly path: string; readonly firstSeq: number }[] {
  return rotated
    .flatMap(({ path, isPacked }) => {
      if (isPacked) return [];
      const firstSeq = unlessMissing(() => withFile(files, path, (fd, size) => firstLine(files, fd, size)?.seq ?? null));
      return firstSeq === null ? [] : [{ path, firstSeq }];
    })
    .sort((a, b) => a.firstSeq - b.firstSeq);
}

/** Where the chain stands at the end of everything that was rotated; `null`: no rotated file has a line of a chain. */
export function rotatedEnd(files: Files, paths: Paths, path: string): ChainEnd | null {
  let end: ChainEnd | null = null;
  for (const rotated of rotatedOf(files, paths, path)) {
    const last = rotated.isPacked
      ? packedLast(files, rotated.path)
      : unlessMissing(() => withFile(files, rotated.path, (fd, size) => tailOf(files, fd, 0, size).last));
    const line = last === null ? null : parsedLine(last);
    if (line !== null && line.seq > (end?.seq ?? 0)) end = { seq: line.seq, hash: line.hash };
  }
  return end;
}

/** A packed file cannot be read from its end. */
function packedLast(files: Files, path: string): string | null {
  const unpack = builtin<{ readonly gunzipSync: (bytes: Uint8Array) => Uint8Array }>("node:zlib")?.gunzipSync;
  if (unpack === undefined) return null;
  try {
    return (
      new TextDecoder()
        .decode(unpack(files.readFileSync(path)))
        .trimEnd()
        .split("\n")
        .at(-1) ?? null
    );
  } catch {
    // It is being packed at this moment, or is none of ours.
    return null;
  }
}

export function withFile<T>(files: Files, path: string, act: (fd: number, size: number) => T): T {
  const fd = files.openSync(path, "r");
  try {
    return act(fd, files.fstatSync(fd).size);
  } finally {
    files.closeSync(fd);
  }
}
