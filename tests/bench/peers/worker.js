// The actor of tests/guests/sqlite_bench for workerd, with the same routes, statements and answers.

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

  // Destroys the object, as an eviction does.
  abort() {
    this.ctx.abort("put to sleep by the bench");
  }

  async fetch(request) {
    const [, , , , method] = new URL(request.url).pathname.split("/");
    const [argument] = await request.json();
    const value = this[method](argument);
    this.#calls += 1;
    return Response.json({ ok: value });
  }
}

export default {
  async fetch(request, env) {
    const [, , , key] = new URL(request.url).pathname.split("/");
    return env.ACTORS.get(env.ACTORS.idFromName(key)).fetch(request);
  },
};
