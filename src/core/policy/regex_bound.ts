/**
 * No more instructions than about so many does an expression in RE2's syntax compile to: found from its text alone, without multiplying anything out. What
 * RE2 finds in common between alternatives it makes once, and then there are far fewer.
 */
export function instructionsAtMost(pattern: string): number {
  const outer: Group[] = [];
  let group = newGroup();
  for (let i = 0; i < pattern.length; ) {
    TOKEN.lastIndex = i;
    const [token, most] = TOKEN.exec(pattern) ?? [pattern.charAt(i)];
    i += Math.max(1, token.length);
    if (token.startsWith("(")) {
      outer.push(group);
      group = newGroup();
    } else if (token === ")") {
      const inner = sizeOf(group) + 2;
      group = outer.pop() ?? newGroup();
      add(group, inner);
    } else if (token === "|") {
      group = { before: sizeOf(group), now: 0, last: 0 };
    } else if (most !== undefined || /^[*+?]$/.test(token)) {
      const size = (group.last + 1) * Number(most ?? 1);
      group.now += size - group.last;
      group.last = size;
    } else {
      add(group, token.startsWith("\\Q") ? token.length : 1);
    }
  }
  return [...outer, group].reduce((sum, one) => sum + sizeOf(one), 0);
}

/** What stands between two parentheses: the alternatives before the present one, the present one, and what a repetition would repeat. */
interface Group {
  readonly before: number;
  now: number;
  last: number;
}

const newGroup = (): Group => ({ before: 0, now: 0, last: 0 });

/** Alternatives of one character are one class. */
const sizeOf = ({ before, now }: Group): number => (before <= 1 && now <= 1 ? Math.max(before, now) : before + now + 1);

function add(group: Group, size: number): void {
  group.now += size;
  group.last = size;
}

/** A text that is quoted, an escape, a class, the beginning of a group with its flags or its name, a repetition with the most that it says; or a character. */
const TOKEN =
  /\\Q.*?(?:\\E|$)|\\[pPx]\{[^}]*\}|\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]|\((?:\?P?<[^>]*>|\?[^:)]*:)?|\{(?:\d+,)?(\d+)(?:,)?\}|./suy;
