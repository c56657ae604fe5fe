// What was used last is kept, up to a size.

export class Shelf {
  /** limit: of the sizes together; dropped: called with each value that has to go. */
  constructor(limit, dropped = () => {}) {
    this.limit = limit;
    this.size = 0;
    this.items = new Map();  // key -> {value, size}, the one used longest ago first
    this.dropped = dropped;
  }

  has(key) { return this.items.has(key); }

  /** The value, which counts as used now; undefined where there is none. */
  get(key) {
    const item = this.items.get(key);
    if (!item) return undefined;
    this.items.delete(key);
    this.items.set(key, item);
    return item.value;
  }

  set(key, value, size = 1) {
    this.delete(key);
    this.items.set(key, { value, size });
    this.size += size;
    for (const oldest of this.items.keys()) {
      if (this.size <= this.limit || oldest === key) break;
      this.delete(oldest);
    }
  }

  delete(key) {
    const item = this.items.get(key);
    if (!item) return;
    this.items.delete(key);
    this.size -= item.size;
    this.dropped(item.value);
  }

  clear() { for (const key of [...this.items.keys()]) this.delete(key); }
}
