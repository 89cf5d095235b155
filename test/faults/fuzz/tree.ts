/**
 * JSON as it is written, not as it is meant: an object may have a member twice or one named `__proto__`, and a leaf is any text at all.
 * What a parser must refuse can be built with it.
 */
export type Tree = Leaf | List | Members;

/** A literal as it stands in the text: `1e999`, `"\ud800"`, `nul`. */
export interface Leaf {
  readonly raw: string;
}

export interface List {
  items: Tree[];
}

export interface Members {
  members: [string, Tree][];
}

export const isList = (tree: Tree): tree is List => "items" in tree;
export const isMembers = (tree: Tree): tree is Members => "members" in tree;

export function treeOf(value: unknown): Tree {
  if (Array.isArray(value)) return { items: value.map(treeOf) };
  if (typeof value === "object" && value !== null) {
    return {
      members: Object.entries(value).flatMap(([key, member]): [string, Tree][] =>
        member === undefined ? [] : [[JSON.stringify(key), treeOf(member)]],
      ),
    };
  }
  return { raw: JSON.stringify(value) ?? "null" };
}

/** The text. Iterative, because what is nested without end must still be written. */
export function textOf(tree: Tree): string {
  const parts: string[] = [];
  const todo: (Tree | string)[] = [tree];
  while (todo.length > 0) {
    const next = todo.pop();
    if (next === undefined) break;
    if (typeof next === "string") parts.push(next);
    else if (isList(next))
      todo.push("]", ...next.items.flatMap((item, index): (Tree | string)[] => (index === 0 ? [item] : [",", item])).reverse(), "[");
    else if (isMembers(next)) {
      todo.push(
        "}",
        ...next.members.flatMap(([key, member], index): (Tree | string)[] => [index === 0 ? `${key}:` : `,${key}:`, member]).reverse(),
        "{",
      );
    } else parts.push(next.raw);
  }
  return parts.join("");
}

/** Every place of a tree: how to put something else there, or to take it away. */
export interface Spot {
  readonly tree: Tree;
  readonly key: string | null;
  put(tree: Tree): void;
  drop(): void;
  /** What holds it; `null` at the root. */
  readonly holder: List | Members | null;
}

export function spotsOf(root: { tree: Tree }): readonly Spot[] {
  const spots: Spot[] = [];
  const visit = (spot: Spot): void => {
    spots.push(spot);
    const { tree } = spot;
    if (isList(tree)) {
      tree.items.forEach((item, index) => {
        visit({
          tree: item,
          key: null,
          holder: tree,
          put: (other) => {
            tree.items[index] = other;
          },
          drop: () => {
            tree.items = tree.items.filter((one) => one !== item);
          },
        });
      });
    } else if (isMembers(tree)) {
      for (const pair of tree.members) {
        visit({
          tree: pair[1],
          key: pair[0],
          holder: tree,
          put: (other) => {
            pair[1] = other;
          },
          drop: () => {
            tree.members = tree.members.filter((one) => one !== pair);
          },
        });
      }
    }
  };
  visit({
    tree: root.tree,
    key: null,
    holder: null,
    put: (other) => {
      root.tree = other;
    },
    drop: () => {
      root.tree = { raw: "" };
    },
  });
  return spots;
}
