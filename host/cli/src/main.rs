//! The `stockade` program.
//!
//! ```text
//!  serve                          runs a host               server.rs does the work
//!  call outcome                   talk to the listener of actors      (--server)
//!  deploy kinds describe actors client
//!  sql alarms messages            talk to the listener of operators     (--admin)
//!  export import verify fault
//!  nodes drain
//!  peer-keys, client of a file    make files
//!  export import verify with --data-dir or --store    work on the store itself, without a server
//!  store check, store upgrade, serve --check-store    the same, whatever its format
//!  store shards, store move-shard                     the primaries of a store, without a server
//! ```
//!
//! Invariants:
//! - Results go to stdout, everything else to stderr; with `--json` each is one JSON document.
//! - What a guest has written is made printable before it reaches a terminal.
//! - Exit codes: 0 done, 1 an error of actor or host, 2 wrong usage, 3 no server reached.

mod actors;
mod alarms;
#[allow(unsafe_code, reason = "an allocator is")]
mod allocator;
mod backend;
mod call;
mod client;
mod completions;
mod config;
mod deploy;
#[cfg(test)]
mod documents;
mod export;
mod failure;
mod fault;
mod import;
mod kinds;
mod logging;
mod messages;
mod nodes;
mod offline;
mod outcome;
mod output;
mod peer_keys;
mod peers;
mod prompt;
mod record;
mod rows;
mod serve;
mod shards;
mod sql;
mod statement;
mod store;
mod target;
mod verify;
mod waiting;
mod write_client;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use client::Client;
use failure::Failure;
use output::Output;

use stockade_server::{TOKEN_FILE, read_private};

/// The default address of the listener of actors.
const LISTEN: &str = "127.0.0.1:7070";
/// The default address of the listener of operators.
const ADMIN: &str = "127.0.0.1:7071";

/// The default data directory of `serve`, where clients on the same machine find the operators'
/// token.
const DATA_DIR: &str = "stockade-data";
/// The variable that names another data directory.
const DATA_DIR_VARIABLE: &str = "STOCKADE_DATA_DIR";

/// The variable with the address of the listener of actors, for clients.
const SERVER_VARIABLE: &str = "STOCKADE_SERVER";
/// The variable with the address of the listener of operators, for clients and for `serve`.
const ADMIN_VARIABLE: &str = "STOCKADE_ADMIN";

/// The heading of the common options in `--help`.
const COMMON_HEADING: &str = "Common options";
const COMMON: &str = "\
Common options (stockade --help): --json, --server, --admin, --token-file,
--admin-token-file, --ca-file, --log, --log-json";

const AFTER_HELP: &str = "\
A first actor, examples/counter:
  export STOCKADE_DATA_DIR=./data           (in both terminals)
  stockade serve                            (in another terminal)
  stockade deploy counter target/guest/wasm32-wasip1/guest/counter.wasm
  stockade describe counter
  stockade call counter/alice increment 5
  stockade sql counter/alice 'SELECT * FROM counter'
  stockade export counter/alice alice.sqlite
  stockade import counter/bob alice.sqlite

Exit codes:
  0  done
  1  the actor or the host answered with an error (with --json: its body on stderr)
  2  wrong usage
  3  no server was reached

Every error has a stable `group.code` and an advice: retry, reroute, fix, never, or
unknown-outcome (look before you repeat it).";

/// Hosts stateful actors: one wasm component and one private SQLite database each.
#[derive(Parser)]
#[command(name = "stockade", version, after_long_help = AFTER_HELP, max_term_width = 100)]
struct Program {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(Args)]
struct Common {
    /// Print one JSON document instead of text; errors are JSON on stderr
    #[arg(long, global = true, help_heading = COMMON_HEADING)]
    json: bool,
    /// Where to reach actors; with https:// in front over TLS [env: STOCKADE_SERVER=] [default:
    /// 127.0.0.1:7070]
    #[arg(long, global = true, value_name = "HOST:PORT", help_heading = COMMON_HEADING)]
    server: Option<String>,
    /// Where to reach operators' routes; for `serve`: where to serve them
    /// [env: STOCKADE_ADMIN=] [default: 127.0.0.1:7071]
    #[arg(long, global = true, value_name = "HOST:PORT", help_heading = COMMON_HEADING)]
    admin: Option<String>,
    /// File with the callers' token: to present, or for `serve` to require; without it
    /// STOCKADE_TOKEN is used
    #[arg(long, global = true, value_name = "FILE", help_heading = COMMON_HEADING)]
    token_file: Option<PathBuf>,
    /// The same for operators. Without it STOCKADE_ADMIN_TOKEN is used, else the file `admin-token`
    /// in STOCKADE_DATA_DIR or ./stockade-data: `serve` makes the file, other commands on this
    /// machine present it
    #[arg(long, global = true, value_name = "FILE", help_heading = COMMON_HEADING)]
    admin_token_file: Option<PathBuf>,
    /// Trust servers whose certificates lead to the authorities in this file, PEM, instead of the
    /// usual ones
    #[arg(
        long,
        global = true,
        env = "STOCKADE_CA_FILE",
        value_name = "FILE",
        help_heading = COMMON_HEADING
    )]
    ca_file: Option<PathBuf>,
    /// What to log to stderr, as RUST_LOG takes it: warn, info, stockade=debug
    #[arg(
        long,
        global = true,
        env = "RUST_LOG",
        value_name = "FILTER",
        help_heading = COMMON_HEADING
    )]
    log: Option<String>,
    /// Log as JSON lines
    #[arg(long, global = true, help_heading = COMMON_HEADING)]
    log_json: bool,
}

#[derive(Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Deploy(deploy::Deploy),
    Call(call::Call),
    Outcome(outcome::Ask),
    Kinds(kinds::Kinds),
    Describe(kinds::Describe),
    Client(write_client::WriteClient),
    Actors(actors::Actors),
    Alarms(alarms::Alarms),
    Messages(messages::Messages),
    Sql(sql::Sql),
    Export(export::Export),
    Import(import::Import),
    Verify(verify::Verify),
    Store(store::Store),
    Fault(fault::Inject),
    Nodes(nodes::Nodes),
    Drain(nodes::Drain),
    PeerKeys(peer_keys::MakeKeys),
    Completions(completions::Completions),
    Man(completions::Man),
}

/// What commands work with.
struct Context {
    output: Output,
    common: Common,
}

impl Context {
    /// The listener of actors. Operators may call, too.
    fn server(&self) -> Result<Client, Failure> {
        let address = address(self.common.server.as_ref(), SERVER_VARIABLE, LISTEN);
        let token = self.token()?.map_or_else(|| self.admin_token(), |token| Ok(Some(token)))?;
        Client::new(&address, token, self.common.ca_file.as_deref())
    }

    /// The listener of operators.
    fn admin(&self) -> Result<Client, Failure> {
        let address = address(self.common.admin.as_ref(), ADMIN_VARIABLE, ADMIN);
        let token = self.admin_token()?;
        let token = token.map_or_else(|| found_token(&address), |token| Ok(Some(token)))?;
        Client::new(&address, token, self.common.ca_file.as_deref())
    }

    /// The text of the callers' token, from its file or the environment.
    fn token(&self) -> Result<Option<String>, Failure> {
        given_token(self.common.token_file.as_deref(), "STOCKADE_TOKEN")
    }

    /// The text of the operators' token, likewise.
    fn admin_token(&self) -> Result<Option<String>, Failure> {
        given_token(self.common.admin_token_file.as_deref(), "STOCKADE_ADMIN_TOKEN")
    }
}

fn given_token(file: Option<&Path>, variable: &str) -> Result<Option<String>, Failure> {
    let text = match file {
        Some(path) => Some(read_token(path)?),
        None => std::env::var(variable).ok(),
    };
    Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
}

/// The operators' token of the local data directory. It is meant for hosts of this machine: no
/// other host gets it.
fn found_token(address: &str) -> Result<Option<String>, Failure> {
    if !client::is_here(address) {
        return Ok(None);
    }
    let dir = from_environment(DATA_DIR_VARIABLE).unwrap_or_else(|| DATA_DIR.to_owned());
    let path = Path::new(&dir).join(TOKEN_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let text = read_private(&path).map_err(|error| Failure::local(error.to_string()))?;
    Ok(Some(text.trim().to_owned()))
}

/// The text of a token file. A file that others can read is accepted, since mounted secrets often
/// are readable, but with a warning.
fn read_token(path: &Path) -> Result<String, Failure> {
    warn_of_readers(path, "token");
    std::fs::read_to_string(path)
        .map_err(|error| Failure::file("read the token from", path, &error))
}

/// Warns of a file with a secret that others can read. That it cannot be read at all is for its reader.
fn warn_of_readers(path: &Path, secret: &str) {
    let Ok(found) = std::fs::metadata(path) else { return };
    let mode = found.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        let (path, mode) = (path.display(), format!("{mode:o}"));
        tracing::warn!(%path, mode, "others can read the {secret}: chmod 600");
    }
}

/// The given address, else the environment's, else the default of `serve`.
fn address(given: Option<&String>, variable: &str, default: &str) -> String {
    given.cloned().or_else(|| from_environment(variable)).unwrap_or_else(|| default.to_owned())
}

fn from_environment(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|address| !address.is_empty())
}

/// A call allocates on one thread and frees on another, a few dozen times. Only the program has
/// this allocator: an embedder chooses its own.
#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() -> ExitCode {
    let parsed = command().try_get_matches();
    let program = match parsed.and_then(|matches| Program::from_arg_matches(&matches)) {
        Ok(program) => program,
        Err(error) => return usage(&error),
    };
    let Program { common, command } = program;
    let context = Context { output: Output::new(common.json), common };
    match run(&context, &command) {
        Ok(code) => code,
        Err(failure) => {
            context.output.failure(&failure);
            failure.exit_code()
        }
    }
}

/// The command line. The help of the program and of `serve` lists the common options; the help of
/// the other commands says where to find them.
fn command() -> clap::Command {
    let mut program = Program::command();
    // From here on each command has its own copy of the options.
    program.build();
    for command in program.get_subcommands_mut() {
        if command.get_name() != "serve" {
            hide_common(command);
        }
    }
    program
}

fn hide_common(command: &mut clap::Command) {
    let long = command.get_after_long_help().map(ToString::to_string);
    let long = long.map_or_else(|| COMMON.to_owned(), |long| format!("{long}\n\n{COMMON}"));
    let hidden = std::mem::take(command)
        .mut_args(|argument| {
            let is_common = argument.get_help_heading() == Some(COMMON_HEADING);
            if is_common { argument.hide(true) } else { argument }
        })
        .after_help(COMMON)
        .after_long_help(long);
    *command = hidden;
    command.get_subcommands_mut().for_each(hide_common);
}

fn run(context: &Context, command: &Command) -> Result<ExitCode, Failure> {
    let default = if matches!(command, Command::Serve(_)) { "info" } else { "warn" };
    logging::start(context.common.log.as_deref().unwrap_or(default), context.common.log_json)?;
    match command {
        Command::Serve(serve) => serve.run(context),
        Command::Deploy(deploy) => deploy.run(context),
        Command::Call(call) => call.run(context),
        Command::Outcome(ask) => ask.run(context),
        Command::Kinds(kinds) => kinds.run(context),
        Command::Describe(describe) => describe.run(context),
        Command::Client(client) => client.run(context),
        Command::Actors(actors) => actors.run(context),
        Command::Alarms(alarms) => alarms.run(context),
        Command::Messages(messages) => messages.run(context),
        Command::Sql(sql) => sql.run(context),
        Command::Export(export) => export.run(context),
        Command::Import(import) => import.run(context),
        Command::Verify(verify) => verify.run(context),
        Command::Store(store) => store.run(context),
        Command::Fault(fault) => fault.run(context),
        Command::Nodes(nodes) => nodes.run(context),
        Command::Drain(drain) => drain.run(context),
        Command::PeerKeys(keys) => keys.run(context),
        Command::Completions(completions) => completions.run(context),
        Command::Man(man) => man.run(context),
    }
}

/// Help and version are printed as they are; wrong usage is an error like any other.
fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let failure = Failure::usage(error.to_string().trim_end());
        Output::new(true).failure(&failure);
        return failure.exit_code();
    }
    // If even this cannot be printed, there is nothing left to do.
    drop(error.print());
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::USAGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Program::command().debug_assert();
    }

    #[test]
    fn negative_numbers_are_arguments_and_not_options() {
        let program = Program::try_parse_from([
            "stockade",
            "call",
            "counter/a",
            "increment",
            "-5",
            "-1.5",
            "--json",
        ])
        .expect("parses");
        assert!(program.common.json);
        let Command::Call(call) = program.command else { panic!("call") };
        assert_eq!(call.arguments(), ["-5", "-1.5"]);
    }

    #[test]
    fn every_command_has_a_help_that_teaches() {
        for command in command().get_subcommands_mut().filter(|it| it.get_name() != "help") {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{} has no example", command.get_name());
        }
    }

    #[test]
    fn common_options_are_told_once() {
        let told = |help: &str| help.contains("Where to reach actors");
        let mut program = command();
        assert!(told(&program.render_long_help().to_string()));
        for command in program.get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert_eq!(told(&help), command.get_name() == "serve", "{help}");
        }
        let sql = ["stockade", "sql", "counter/a", "SELECT 1", "--json"];
        let matches = command().try_get_matches_from(sql).expect("parses");
        assert!(Program::from_arg_matches(&matches).expect("reads").common.json);
    }
}
