/** Asks again and again: never two rounds at once, not while the tab is hidden or updates are paused. */

/**
 * @typedef {object} Task
 * @property {string} name
 * @property {number} every asked in every n-th round
 * @property {(signal: AbortSignal) => Promise<void>} run
 */

const SLOWEST_MS = 30_000;

export class Poller {
  /**
   * @param {Task[]} tasks
   * @param {number} intervalMs from the end of a round to the start of the next
   * @param {(errors: Map<string, Error>) => void} done told after each round that was not interrupted; the errors by task that stand
   */
  constructor(tasks, intervalMs, done) {
    this.tasks = tasks;
    this.intervalMs = intervalMs;
    this.done = done;
    this.errors = new Map();
    this.paused = false;
    this.round = 0;
    this.timer = 0;
    /** @type {AbortController|null} the round under way */
    this.running = null;
    document.addEventListener("visibilitychange", () => this.wake());
  }

  /** @param {boolean} paused */
  pause(paused) {
    this.paused = paused;
    this.wake();
  }

  /** Goes on at once if updates are wanted, else stops after the round under way. */
  wake() {
    clearTimeout(this.timer);
    if (!this.running && !this.paused && !document.hidden) this.ask(false);
  }

  /** Asks everything now, because what is wanted has changed; answers to the former question are dropped. */
  refresh() {
    this.running?.abort();
    clearTimeout(this.timer);
    this.ask(true);
  }

  /** @param {boolean} everything also the tasks that are not due */
  async ask(everything) {
    const round = new AbortController();
    this.running = round;
    const due = this.tasks.filter((task) => everything || this.round % task.every === 0 || this.errors.has(task.name));
    await Promise.all(due.map((task) => this.runTask(task, round.signal)));
    if (round.signal.aborted) return;
    this.running = null;
    this.round += 1;
    this.done(this.errors);
    if (!this.paused && !document.hidden && !this.keyNeeded()) this.timer = setTimeout(() => this.ask(false), this.pauseMs());
  }

  /**
   * @param {Task} task
   * @param {AbortSignal} signal
   */
  async runTask(task, signal) {
    try {
      await task.run(signal);
      if (!signal.aborted) this.errors.delete(task.name);
    } catch (error) {
      if (signal.aborted) return;
      this.errors.set(task.name, error);
      if (error.name !== "ApiError") console.error(error);
    }
  }

  /** Whether asking again is of no use before somebody gives a key: every attempt with a wrong one counts against this address. */
  keyNeeded() {
    return [...this.errors.values()].some((error) => error.status === 401);
  }

  /** Longer when the daemon says that we ask too often. */
  pauseMs() {
    const asked = Math.max(0, ...[...this.errors.values()].map((error) => (error.retryAfterS ?? 0) * 1000));
    return Math.min(SLOWEST_MS, Math.max(this.intervalMs, asked));
  }
}
