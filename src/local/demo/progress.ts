const WIDTH = 32;
/** More often than this nobody sees. */
const PACE_MS = 50;

export interface Progress {
  step(): void;
  /** Takes the bar away. */
  end(): void;
}

/** A bar on a terminal; nothing anywhere else. */
export function startProgress(stream: NodeJS.WriteStream, total: number, what: string): Progress {
  if (stream.isTTY !== true) return { step: () => undefined, end: () => undefined };
  let done = 0;
  let drawnAt = 0;
  const draw = (): void => {
    const filled = total === 0 ? WIDTH : Math.floor((WIDTH * done) / total);
    const line = `${"█".repeat(filled)}${"░".repeat(WIDTH - filled)} ${done} of ${total} ${what}`;
    // Never wider than the terminal: what wraps cannot be drawn over.
    stream.write(`\r${line.slice(0, Math.max(1, stream.columns - 1))}`);
  };
  return {
    step() {
      done++;
      if (done < total && performance.now() - drawnAt < PACE_MS) return;
      drawnAt = performance.now();
      draw();
    },
    end: () => stream.write("\r\u001b[K"),
  };
}
