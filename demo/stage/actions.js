// What the visitor does, on its way to the server: one action at a time; the next one waits until a scene with this one's
// number (`ack`) came back.

const ANSWER_MS = 30000;

export class Actions {
  /** deliver(name, data): sends it; busy(on): whether something that was asked for is waited for. */
  constructor(deliver, busy) { Object.assign(this, { deliver, busy, queue: [], sent: null, number: 0 }); }

  get isIdle() { return !this.sent && !this.queue.length; }

  get waits() { return Boolean(this.sent && !this.sent.quiet && this.sent.name !== "stroke" && this.sent.name !== "object"); }

  /** A stroke takes the place of an earlier one on its frame that has not gone yet, a frame that of another.
   * quiet: nobody has asked for it, and painting goes on meanwhile. */
  send(name, data, quiet = false) {
    const last = this.queue[this.queue.length - 1];
    if (last && last.name === name && (name === "stroke" || name === "go") && last.data.frame !== undefined
        && (name === "go" || last.data.frame === data.frame)) this.queue.pop();
    this.queue.push({ name, data, quiet });
    this.advance();
  }

  advance() {
    if (this.isIdle || this.sent) return this.busy(this.waits);
    this.sent = { ...this.queue.shift(), ack: ++this.number };
    this.sent.timer = setTimeout(() => this.answered(this.sent?.ack), ANSWER_MS);
    this.busy(this.waits);
    this.deliver(this.sent.name, { ...this.sent.data, ack: this.sent.ack });
  }

  answered(ack) {
    if (!this.sent || this.sent.ack !== ack) return;
    clearTimeout(this.sent.timer);
    this.sent = null;
    this.advance();
  }

  /** Whether a stroke is on its way that the answer with the number `ack` does not know of. */
  hasStrokeBehind(ack) { return [this.sent, ...this.queue].some((each) => each?.name === "stroke" && each.ack !== ack); }

  /** Promise that all that was sent has been answered. */
  async settled() {
    for (let end = Date.now() + ANSWER_MS; !this.isIdle && Date.now() < end;) await new Promise((done) => setTimeout(done, 40));
  }
}
