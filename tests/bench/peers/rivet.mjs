// The actor of tests/guests/sqlite_bench for Rivet, with the same statements and answers. RIVET_ENDPOINT
// is the endpoint of the engine.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The packages are in the build folder, the working directory, not beside this file.
const require = createRequire(`${process.cwd()}/`);
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const [{ actor, setup }, { db }] = await Promise.all([load("rivetkit"), load("rivetkit/db")]);

const ROWS = 10_000;

const methods = {
  async setup(db, rows) {
    await db.execute(
      "CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, name TEXT NOT NULL, amount INTEGER NOT NULL)",
    );
    if ((await db.execute("SELECT count(*) AS n FROM item"))[0].n > 0) return null;
    const chunk = 500;
    for (let from = 0; from < rows; from += chunk) {
      const values = [];
      for (let id = from; id < Math.min(rows, from + chunk); id++) {
        values.push(`(${id}, 'item number ${id}', ${id * 7})`);
      }
      await db.execute(`INSERT INTO item (id, name, amount) VALUES ${values.join(",")}`);
    }
    return null;
  },
  async point(db, count) {
    let sum = 0;
    for (let i = 0; i < count; i++) {
      const rows = await db.execute("SELECT amount FROM item WHERE id = ?", (i * 7919) % ROWS);
      sum += rows[0].amount;
    }
    return sum;
  },
  async update(db, count) {
    for (let i = 0; i < count; i++) {
      await db.execute("UPDATE item SET amount = amount + ? WHERE id = ?", 1, (i * 7919) % ROWS);
    }
    return count;
  },
};

const bench = actor({
  db: db(),
  onRequest: async (c, request) => {
    const method = new URL(request.url).pathname.split("/").pop();
    const [argument] = await request.json();
    return Response.json({ ok: await methods[method](c.db, argument) });
  },
});

setup({ use: { bench }, noWelcome: true, startServices: false, logging: { level: "warn" } }).start();
