using Workerd = import "/workerd/workerd.capnp";

# Durable Objects with SQLite on the local disk. The bench sets the directory and the port on the
# command line.
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "disk", disk = (writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);

const worker :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = "2026-11-01",
  durableObjectNamespaces = [(className = "Bench", uniqueKey = "stockade-bench", enableSql = true)],
  durableObjectStorage = (localDisk = "disk"),
  bindings = [(name = "ACTORS", durableObjectNamespace = "Bench")],
);
