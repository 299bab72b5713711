//! The interactive prompt of `stockade sql`: statements over several lines, history, dot commands.

use std::path::PathBuf;

use clap::ValueEnum;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};

use super::Context;
use super::failure::Failure;
use super::rows::{self, Format};
use super::sql::{Statements, tell_rest};
use super::statement::{is_blank, is_complete};
use super::target::Target;

/// Lines of history that are kept.
const HISTORY_LINES: usize = 1_000;

const HELP: &str = "\
Statements end with ';' and may span lines. Ctrl-C drops the one being typed, Ctrl-D leaves.
  .tables          tables and views
  .schema [NAME]   how they were made
  .write on|off    let statements write
  .mode FORMAT     how to print rows: table, csv, line
  .help            this
  .quit            leave";

const TABLES: &str = "SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'view') \
                      AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
const SCHEMA: &str = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY tbl_name, rowid";
const SCHEMA_OF: &str =
    "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND tbl_name = ? ORDER BY rowid";

/// Reads and runs statements until the end of input. Errors are printed and the prompt continues.
pub(super) fn run(
    context: &Context,
    actor: &Target,
    statements: &mut Statements,
) -> Result<(), Failure> {
    // A missing actor or server is reported before the user types anything.
    statements.run("SELECT 1", &[])?;
    let history = history_file();
    let mut editor = editor(history.as_ref())?;
    context.output.note(&format!("{}: .help for help", actor.0));
    let mut pending = String::new();
    loop {
        let mode = if statements.write { "write" } else { "read-only" };
        let prompt = if pending.is_empty() {
            format!("{} ({mode})> ", actor.0)
        } else {
            "   ...> ".to_owned()
        };
        match editor.readline(&prompt) {
            Ok(line) => match step(context, statements, &mut pending, &line) {
                Ok(Next::Statement(text)) => drop(editor.add_history_entry(text)),
                Ok(Next::More) => {}
                Ok(Next::Leave) => break,
                Err(failure) => context.output.failure(&failure),
            },
            Err(ReadlineError::Interrupted) => pending.clear(),
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(Failure::local(format!("cannot read: {error}"))),
        }
    }
    if let Some(path) = history
        && let Err(error) = editor.save_history(&path)
    {
        tracing::debug!(%error, "history is not kept");
    }
    Ok(())
}

/// The result of one line.
pub(super) enum Next {
    /// The line was run; it belongs into the history.
    Statement(String),
    /// More lines are needed.
    More,
    /// The user leaves.
    Leave,
}

fn step(
    context: &Context,
    statements: &mut Statements,
    pending: &mut String,
    line: &str,
) -> Result<Next, Failure> {
    if pending.is_empty() && line.trim_start().starts_with('.') {
        return dot(context, statements, line.trim());
    }
    pending.push_str(line);
    pending.push('\n');
    if is_blank(pending) {
        pending.clear();
        return Ok(Next::More);
    }
    if !is_complete(pending) {
        return Ok(Next::More);
    }
    let sql = std::mem::take(pending);
    // Joined with line ends: without them a comment would swallow the next line, and a text would
    // change.
    let shown = sql.trim().to_owned();
    let ran = statements.run(&sql, &[]);
    match ran {
        Ok(document) => {
            rows::print(context.output, statements.format, &document)?;
            tell_rest(context, &document, statements.write);
        }
        Err(failure) => context.output.failure(&failure),
    }
    Ok(Next::Statement(shown))
}

/// Runs a command that begins with a dot.
pub(super) fn dot(
    context: &Context,
    statements: &mut Statements,
    line: &str,
) -> Result<Next, Failure> {
    let (command, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim().trim_end_matches(';');
    match (command, argument) {
        (".quit" | ".exit", _) => return Ok(Next::Leave),
        (".help", _) => context.output.note(HELP),
        (".tables", _) => {
            let document = statements.run(TABLES, &[])?;
            rows::print(context.output, statements.format, &document)?;
        }
        (".schema", name) => {
            let document = if name.is_empty() {
                statements.run(SCHEMA, &[])?
            } else {
                statements.run(SCHEMA_OF, &[name.into()])?
            };
            context.output.result(&document, schema)?;
        }
        (".write", "on") => statements.write = true,
        (".write", "off") => statements.write = false,
        (".mode", format) => {
            statements.format = Format::from_str(format, true)
                .map_err(|_| Failure::usage("a mode is table, csv or line"))?;
        }
        _ => return Err(Failure::usage(format!("no such command: {line}; .help lists them"))),
    }
    Ok(Next::Statement(line.to_owned()))
}

fn schema(document: &serde_json::Value) -> String {
    let rows = document["rows"].as_array().map_or(&[][..], Vec::as_slice);
    let texts = rows.iter().filter_map(|row| row[0].as_str());
    texts.map(|text| format!("{text};\n")).collect()
}

fn editor(history: Option<&PathBuf>) -> Result<Editor<(), FileHistory>, Failure> {
    let failed = |error: ReadlineError| Failure::local(format!("cannot prompt: {error}"));
    let config = Config::builder().max_history_size(HISTORY_LINES).map_err(failed)?.build();
    let mut editor = Editor::with_config(config).map_err(failed)?;
    if let Some(path) = history {
        // At the first start there is no history.
        drop(editor.load_history(path));
    }
    Ok(editor)
}

/// The file of the history; `None` if there is no home directory. Its directory is made private:
/// typed statements hold data.
fn history_file() -> Option<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(|| {
        std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"))
    })?;
    let dir = state.join("stockade");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).ok()?;
    Some(dir.join("sql_history"))
}
