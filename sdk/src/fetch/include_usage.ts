import type { ModelCall } from "./call.ts";
import { memberOf } from "./json.ts";

/** A chat stream says what it used only if it is asked to, with one more event at its end that callers who did not ask do not expect. */

export const asksForUsage = ({ body }: ModelCall): boolean => memberOf(body, "stream_options")?.include_usage === true;

export const withUsage = ({ body }: ModelCall): string =>
  JSON.stringify({ ...body, stream_options: { ...memberOf(body, "stream_options"), include_usage: true } });
