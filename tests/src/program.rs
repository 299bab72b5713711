//! The real `stockade` program: started on free ports, killed, started again, called over HTTP.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value as Json;

/// How long a server may take to become ready, and a command to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The operators' token of tests, unless a test sets another one: known before any host starts.
pub const ADMIN_TOKEN: &str = "operators-of-the-tests";

/// The variable in which the program finds the token.
const ADMIN_TOKEN_VARIABLE: &str = "STOCKADE_ADMIN_TOKEN";

/// The program, built from this tree with the profile of the caller. Built once per process: cargo
/// holds no lock while tests run.
///
/// # Errors
/// The program does not build.
pub fn path() -> anyhow::Result<PathBuf> {
    static PATH: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PATH.get_or_init(|| build().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

fn build() -> anyhow::Result<PathBuf> {
    if let Some(given) = std::env::var_os("STOCKADE_PROGRAM") {
        return Ok(given.into());
    }
    // <target>/<profile>/deps/<this test>, or <target>/<profile>/<this program>
    let own = std::env::current_exe()?;
    let mut profile_dir = own.parent().context("a folder")?;
    if profile_dir.ends_with("deps") {
        profile_dir = profile_dir.parent().context("a profile folder above the test")?;
    }
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(other) => other,
        None => bail!("no profile in {}", own.display()),
    };
    let target = profile_dir.parent().context("a target folder")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo tells this program about its package: build scripts that look at it would run again, here
    // and in the next build by hand.
    for (name, _) in std::env::vars_os() {
        let told = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if told {
            cargo.env_remove(name);
        }
    }
    let output = cargo
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .args(["build", "--quiet", "--bin", "stockade", "--profile", profile, "--target-dir"])
        .arg(target)
        .output()
        .context("run cargo")?;
    ensure!(
        output.status.success(),
        "`cargo build --bin stockade`:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(profile_dir.join("stockade"))
}

/// A running `stockade serve`. Killed when dropped.
pub struct Program {
    child: Child,
    /// `host:port` for callers.
    pub listen: String,
    /// `host:port` for operators.
    pub admin: String,
    /// `host:port` for other programs on the same data, if it takes calls from them.
    pub peers: Option<String>,
    /// `host:port` for nodes that use its store, if it serves that.
    pub store_served: Option<String>,
    agent: ureq::Agent,
    log: PathBuf,
}

/// Where a server listens, `host:port` each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// For callers.
    pub listen: String,
    /// For operators.
    pub admin: String,
    /// For other programs on the same store, if it takes calls from them.
    pub peers: Option<String>,
}

impl Addresses {
    /// The flags with which a server listens there.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        let peers = self.peers.as_ref().map(|peers| ["--peers", peers]);
        let own = [["--listen", &self.listen], ["--admin", &self.admin]];
        own.into_iter().chain(peers).flatten().map(str::to_owned).collect()
    }
}

/// An answer of the server.
#[derive(Clone, Debug)]
pub struct HttpReply {
    /// HTTP status.
    pub status: u16,
    /// The body, as JSON if it is JSON.
    pub body: Json,
    /// `stockade-generation`, if it is there.
    pub generation: Option<u64>,
    /// `stockade-txid`, if it is there.
    pub txid: Option<u64>,
    /// `stockade-bill`, if it is there.
    pub bill: Option<String>,
}

impl Program {
    /// Starts a server on free ports over a data directory, and waits until it is ready.
    ///
    /// # Errors
    /// The server ended, or was not ready in time; with its log.
    pub fn serve(data_dir: &Path) -> anyhow::Result<Self> {
        Self::serve_with(data_dir, &[])
    }

    /// Starts a server with further flags.
    ///
    /// # Errors
    /// As [`Program::serve`].
    pub fn serve_with(data_dir: &Path, flags: &[&str]) -> anyhow::Result<Self> {
        Self::serve_in(data_dir, flags, &[])
    }

    /// The same with a configuration file of this text.
    ///
    /// # Errors
    /// As [`Program::serve`].
    pub fn serve_configured(data_dir: &Path, config: &str) -> anyhow::Result<Self> {
        let path = data_dir.with_extension("toml");
        std::fs::write(&path, config)?;
        let path = path.to_str().context("a path that can be a flag")?;
        Self::serve_with(data_dir, &["--config", path])
    }

    /// The same with variables in its environment.
    ///
    /// # Errors
    /// As [`Program::serve`].
    pub fn serve_in(
        data_dir: &Path,
        flags: &[&str],
        environment: &[(&str, &Path)],
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(path()?);
        command.envs(environment.iter().copied());
        Self::serve_by(command, data_dir, flags)
    }

    /// Starts a server by another command: another program, or one that starts `stockade`. It listens on
    /// free ports, unless the flags name addresses ([`Addresses::flags`]).
    ///
    /// # Errors
    /// As [`Program::serve`].
    pub fn serve_by(mut command: Command, data_dir: &Path, flags: &[&str]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data_dir)?;
        // Several programs may share the directory: each has its own files beside it.
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let ready = data_dir.with_extension(format!("{number}.ready"));
        let log_path = data_dir.with_extension(format!("{number}.log"));
        drop(std::fs::remove_file(&ready));
        let log = std::fs::File::options().create(true).append(true).open(&log_path)?;
        if !command.get_envs().any(|(name, _)| name == ADMIN_TOKEN_VARIABLE) {
            command.env(ADMIN_TOKEN_VARIABLE, ADMIN_TOKEN);
        }
        command.arg("serve");
        for listener in ["--listen", "--admin"] {
            if !flags.contains(&listener) {
                command.args([listener, "127.0.0.1:0"]);
            }
        }
        let mut child = command
            .arg("--data-dir")
            .arg(data_dir)
            .arg("--ready-file")
            .arg(&ready)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log))
            .spawn()
            .context("start stockade serve")?;
        let addresses = wait_ready(&mut child, &ready, &log_path)?;
        let address = |name: &str| {
            let address = addresses[name].as_str().map(str::to_owned);
            address.with_context(|| format!("`{name}` in the ready file: {addresses}"))
        };
        let agent = agent(PATIENCE);
        Ok(Self {
            listen: address("listen")?,
            admin: address("admin")?,
            peers: address("peers").ok(),
            store_served: address("store_served").ok(),
            child,
            agent,
            log: log_path,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        let (listen, admin) = (self.listen.clone(), self.admin.clone());
        Addresses { listen, admin, peers: self.peers.clone() }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file of its output, standard error included.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether it still runs, and the end of its log: for the text of a failure.
    #[must_use]
    pub fn autopsy(&self) -> String {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(30)..].join("\n");
        format!("process: {}\n{end}", stat.unwrap_or_else(|error| error.to_string()))
    }

    /// Sends SIGSTOP: no thread of the program runs until [`Program::resume`]. Its sockets and
    /// locks stay.
    ///
    /// # Errors
    /// The system refused.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal("STOP")
    }

    /// Sends SIGCONT.
    ///
    /// # Errors
    /// The system refused.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    /// Sends SIGKILL, and waits until the program is gone.
    ///
    /// # Errors
    /// The system refused.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends SIGTERM, and waits until the program has ended in order.
    ///
    /// # Errors
    /// The program ended with a failure, or not in time.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.signal("TERM")?;
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "stockade serve ended with {status}");
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "stockade serve does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a signal, by its name.
    ///
    /// # Errors
    /// The system refused.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status()?;
        ensure!(sent.success(), "kill -{name} {id}");
        Ok(())
    }

    /// Waits until the program has ended, and returns its exit code.
    ///
    /// # Errors
    /// The program does not end in time, or was killed.
    pub fn exit_code(mut self) -> anyhow::Result<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return status.code().with_context(|| format!("ended with {status}"));
            }
            ensure!(begun.elapsed() < PATIENCE, "stockade serve does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Calls a method with a JSON body.
    ///
    /// # Errors
    /// No answer arrived: the outcome of the call is unknown.
    pub fn call(&self, actor: &str, method: &str, arguments: &Json) -> anyhow::Result<HttpReply> {
        let url = format!("http://{}/actors/{actor}/{method}", self.listen);
        reply(self.agent.post(&url).send_json(arguments))
    }

    /// Calls a method with a JSON body, and with an id.
    ///
    /// # Errors
    /// No answer arrived: the outcome of the call is unknown.
    pub fn call_with_id(
        &self,
        actor: &str,
        method: &str,
        arguments: &Json,
        id: &str,
    ) -> anyhow::Result<HttpReply> {
        let url = format!("http://{}/actors/{actor}/{method}", self.listen);
        reply(self.agent.post(&url).header("idempotency-key", id).send_json(arguments))
    }

    /// Asks what became of a call that has an id; `settle`: for good.
    ///
    /// # Errors
    /// No answer arrived.
    pub fn outcome(&self, actor: &str, id: &str, settle: bool) -> anyhow::Result<HttpReply> {
        let url = format!("http://{}/actors/{actor}/calls/{id}", self.listen);
        if settle {
            self.post_raw(&url, "text/plain", b"")
        } else {
            reply(self.agent.get(&url).call())
        }
    }

    /// Sends POST with this body.
    ///
    /// # Errors
    /// No answer arrived.
    pub fn post_raw(&self, url: &str, kind: &str, body: &[u8]) -> anyhow::Result<HttpReply> {
        reply(self.agent.post(url).content_type(kind).send(body))
    }

    /// Sends GET to the callers' listener.
    ///
    /// # Errors
    /// No answer arrived.
    pub fn get(&self, route: &str) -> anyhow::Result<HttpReply> {
        reply(self.agent.get(format!("http://{}{route}", self.listen)).call())
    }

    /// Sends GET to the operators' listener.
    ///
    /// # Errors
    /// No answer arrived.
    pub fn admin_get(&self, route: &str) -> anyhow::Result<HttpReply> {
        reply(self.agent.get(format!("http://{}{route}", self.admin)).call())
    }

    /// Sends POST to the operators' listener.
    ///
    /// # Errors
    /// No answer arrived.
    pub fn admin_post(&self, route: &str, body: &Json) -> anyhow::Result<HttpReply> {
        reply(self.agent.post(format!("http://{}{route}", self.admin)).send_json(body))
    }

    /// Sends DELETE to the operators' listener.
    ///
    /// # Errors
    /// No answer arrived.
    pub fn admin_delete(&self, route: &str) -> anyhow::Result<HttpReply> {
        reply(self.agent.delete(format!("http://{}{route}", self.admin)).call())
    }

    /// Deploys a component.
    ///
    /// # Errors
    /// The server refused the component.
    pub fn deploy(&self, kind: &str, wasm: &[u8]) -> anyhow::Result<Json> {
        self.deploy_with(kind, wasm, None)
    }

    /// Deploys a component with a manifest.
    ///
    /// # Errors
    /// The server refused the component or the manifest.
    pub fn deploy_with(
        &self,
        kind: &str,
        wasm: &[u8],
        manifest: Option<&Json>,
    ) -> anyhow::Result<Json> {
        let url = format!("http://{}/admin/kinds/{kind}", self.admin);
        let mut request = self.agent.put(&url).content_type("application/wasm");
        if let Some(manifest) = manifest {
            request = request.header("stockade-manifest", manifest.to_string());
        }
        let answer = reply(request.send(wasm))?;
        ensure!(answer.status == 200 || answer.status == 201, "deploy {kind}: {answer:?}");
        Ok(answer.body)
    }

    /// Downloads an actor's database as a plain SQLite file.
    ///
    /// # Errors
    /// The server refused the export, or the file cannot be written.
    pub fn export(&self, actor: &str, to: &Path) -> anyhow::Result<()> {
        let url = format!("http://{}/admin/actors/{actor}/export", self.admin);
        let mut answer = self.agent.get(&url).call()?;
        ensure!(answer.status() == 200, "export {actor}: {}", answer.status());
        let mut file = std::fs::File::create(to)?;
        std::io::copy(&mut answer.body_mut().as_reader(), &mut file)?;
        Ok(())
    }
}

/// A client with its own connections and its own timeout, for any server.
pub struct Caller {
    agent: ureq::Agent,
}

impl Caller {
    /// A client that waits this long for an answer.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self { agent: agent(patience) }
    }

    /// Calls a method with a JSON body, at `host:port`.
    ///
    /// # Errors
    /// No answer arrived: the outcome of the call is unknown.
    pub fn call(
        &self,
        listen: &str,
        actor: &str,
        method: &str,
        arguments: &Json,
    ) -> anyhow::Result<HttpReply> {
        let url = format!("http://{listen}/actors/{actor}/{method}");
        reply(self.agent.post(&url).send_json(arguments))
    }
}

fn agent(patience: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(patience))
        .middleware(as_operator)
        .build()
        .into()
}

/// Operators may call, too.
fn as_operator(
    mut request: ureq::http::Request<ureq::SendBody<'_>>,
    next: ureq::middleware::MiddlewareNext<'_>,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let token = format!("Bearer {ADMIN_TOKEN}");
    let token = token.parse().expect("a token is a field's value");
    request.headers_mut().insert("authorization", token);
    next.handle(request)
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs a command of the program against this server; returns its exit code, stdout and stderr.
///
/// # Errors
/// The command cannot be started.
pub fn run(arguments: &[&str]) -> anyhow::Result<(i32, String, String)> {
    run_in(arguments, &[])
}

/// Runs a command with variables in its environment.
///
/// # Errors
/// As [`run`].
pub fn run_in(
    arguments: &[&str],
    environment: &[(&str, &Path)],
) -> anyhow::Result<(i32, String, String)> {
    let mut command = Command::new(path()?);
    command
        .args(arguments)
        .env(ADMIN_TOKEN_VARIABLE, ADMIN_TOKEN)
        .envs(environment.iter().copied());
    let output = command.stdin(Stdio::null()).output()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr)))
}

fn wait_ready(child: &mut Child, ready: &Path, log: &Path) -> anyhow::Result<Json> {
    let begun = Instant::now();
    loop {
        if let Ok(text) = std::fs::read_to_string(ready)
            && let Ok(addresses) = serde_json::from_str(&text)
        {
            return Ok(addresses);
        }
        let said = || std::fs::read_to_string(log).unwrap_or_default();
        if let Some(status) = child.try_wait()? {
            bail!("stockade serve ended with {status}:\n{}", said());
        }
        if begun.elapsed() > PATIENCE {
            drop(child.kill());
            drop(child.wait());
            bail!("stockade serve is not ready:\n{}", said());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn reply(
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> anyhow::Result<HttpReply> {
    let mut answer = answer?;
    let header = |name: &str| {
        answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let (generation, txid, bill) =
        (header("stockade-generation"), header("stockade-txid"), header("stockade-bill"));
    let status = answer.status().as_u16();
    let text = answer.body_mut().read_to_string()?;
    let body = serde_json::from_str(&text).unwrap_or(Json::String(text));
    let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
    Ok(HttpReply { status, body, generation: number(generation), txid: number(txid), bill })
}
