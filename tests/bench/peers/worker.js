// The actor of tests/guests/sqlite_bench for workerd, with the same routes, statements and answers. Also
// those of calls_relay (`prepare`, `count`, `ask`) and of lifecycle_alarms (`tick`, `alarm`, `ran`).

import { DurableObject } from "cloudflare:workers";

const ROWS = 10_000;

export class Bench extends DurableObject {
  #calls = 0;

  constructor(ctx, env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
  }

  setup(rows) {
    this.sql.exec(
      "CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, name TEXT NOT NULL, amount INTEGER NOT NULL)",
    );
    if (this.sql.exec("SELECT count(*) AS n FROM item").one().n > 0) return null;
    this.ctx.storage.transactionSync(() => {
      for (let id = 0; id < rows; id++) {
        this.sql.exec("INSERT INTO item (id, name, amount) VALUES (?1, ?2, ?3)", id, `item number ${id}`, id * 7);
      }
    });
    return null;
  }

  point(count) {
    let sum = 0;
    for (let i = 0; i < count; i++) {
      sum += this.sql.exec("SELECT amount FROM item WHERE id = ?1", (i * 7919) % ROWS).one().amount;
    }
    return sum;
  }

  update(count) {
    let changed = 0;
    for (let i = 0; i < count; i++) {
      const done = this.sql.exec("UPDATE item SET amount = amount + ?1 WHERE id = ?2", 1, (i * 7919) % ROWS);
      changed += done.rowsWritten;
    }
    return changed;
  }

  // Calls since the construction of the object, without this one: 0 right after a wake.
  calls() {
    return this.#calls;
  }

  prepare(rows) {
    this.sql.exec("CREATE TABLE IF NOT EXISTS t (a)");
    for (let i = 0; i < rows; i++) this.sql.exec("INSERT INTO t VALUES (1)");
    return null;
  }

  count() {
    return this.sql.exec("SELECT count(*) AS n FROM t").one().n;
  }

  async ask(calls, key) {
    let sum = 0;
    for (let i = 0; i < calls; i++) {
      const callee = this.env.ACTORS.get(this.env.ACTORS.idFromName(`${key}-callee`));
      sum += await callee.count();
    }
    return sum;
  }

  async tick(ms) {
    this.sql.exec(
      "CREATE TABLE IF NOT EXISTS run (id INTEGER PRIMARY KEY, name TEXT, attempt INTEGER, missed INTEGER, due INTEGER, late_us INTEGER, generation INTEGER)",
    );
    await this.ctx.storage.setAlarm(Date.now() + ms);
    return null;
  }

  async alarm(info) {
    this.sql.exec(
      "INSERT INTO run (name, attempt, missed, due, late_us, generation) VALUES (?, ?, ?, ?, ?, ?)",
      "tick", info?.retryCount ?? 0, 0, Date.now(), 0, 1,
    );
    await this.ctx.storage.setAlarm(Date.now());
  }

  ran() {
    return this.sql.exec("SELECT count(*) AS n FROM run").one().n;
  }

  // Destroys the object, as an eviction does.
  abort() {
    this.ctx.abort("put to sleep by the bench");
  }

  async fetch(request) {
    const [, , , key, method] = new URL(request.url).pathname.split("/");
    const [argument] = await request.json();
    const value = this[method](argument, key);
    this.#calls += 1;
    return Response.json({ ok: value instanceof Promise ? await value : value });
  }
}

export default {
  async fetch(request, env) {
    const [, , , key] = new URL(request.url).pathname.split("/");
    return env.ACTORS.get(env.ACTORS.idFromName(key)).fetch(request);
  },
};
