import type { ASTNode } from "@marcbachmann/cel-js";

/** The nodes directly below a node, as they stand in the text. */
export function below(node: ASTNode): readonly ASTNode[] {
  switch (node.op) {
    case "value":
    case "id":
      return [];
    case ".":
    case ".?":
      return [node.args[0]];
    case "!_":
    case "-_":
      return [node.args];
    case "call":
      return node.args[1];
    case "rcall":
      return [node.args[1], ...node.args[2]];
    case "map":
      return node.args.flat();
    default:
      return node.args;
  }
}

/** How many nodes there are, and how deep they lie. Walks without recursion: it is asked before anything else may trust the depth. */
export function measure(root: ASTNode): { readonly nodes: number; readonly depth: number } {
  let nodes = 0;
  let depth = 0;
  let level: readonly ASTNode[] = [root];
  while (level.length > 0) {
    nodes += level.length;
    depth++;
    level = level.flatMap(below);
  }
  return { nodes, depth };
}

export const nodesIn = (root: ASTNode): number => measure(root).nodes;
