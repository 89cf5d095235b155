/** `Map.groupBy` of ECMAScript 2024, which Node 20 does not have: the build puts this in its place. */
export function mapGroupBy<Item, Key>(items: Iterable<Item>, keyOf: (item: Item, place: number) => Key): Map<Key, Item[]> {
  const groups = new Map<Key, Item[]>();
  let place = 0;
  for (const item of items) {
    const key = keyOf(item, place++);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}
