//! `stockade sql`: an operator's statements, run in the actor's live session or on the sleeping
//! actor's database.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value as Json, json};

use super::client::Client;
use super::failure::Failure;
use super::rows::{self, Format};
use super::target::Target;
use super::{Context, prompt};

/// Characters that are shown on both sides of a wrong place in a statement.
const PLACE_CHARS: usize = 120;

/// Run SQL against an actor's database: one statement, a file, or a prompt
///
/// An awake actor runs the statements inside its own session, so they see what the actor sees. A
/// sleeping actor is not woken: its database is opened without the component, so that rows which
/// make its `start` fail can be read and repaired; its crash counter stays as it is (`stockade
/// actors reset`). The actor's limits hold either way. Read-only unless --write; never creates an
/// actor; what the statements set or make other than rows (pragmas, temporary tables) ends with the
/// request.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade sql counter/alice                                   a prompt; .help inside
  stockade sql counter/alice 'SELECT * FROM counter'
  stockade sql ledger/bank 'SELECT * FROM account WHERE name = ?' --param '\"alice\"'
  stockade sql counter/alice --write 'UPDATE counter SET value = 0'
  stockade sql counter/alice --write -f fix.sql                the rows of the last statement
  stockade sql counter/alice --json 'SELECT 1' | jq .rows
  stockade sql counter/alice --format csv 'SELECT * FROM counter' > counter.csv
  stockade sql counter/alice .tables                           as at the prompt: .tables, .schema

Each statement commits by itself; a file runs in one request and may hold BEGIN and COMMIT. At the
prompt each line is a request of its own. A sleeping actor that has handed over a snapshot is told
after a write that its snapshot is older than the data, and starts as one that recovers.")]
pub(super) struct Sql {
    /// The actor, KIND/KEY
    actor: Target,
    /// One or more statements; without them a prompt, or stdin if that is no terminal
    #[arg(conflicts_with = "file")]
    statement: Option<String>,
    /// Statements from a file
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Let the statements write
    #[arg(long, short)]
    write: bool,
    /// A parameter of the last statement, as JSON; by position
    #[arg(
        long = "param",
        value_name = "JSON",
        value_parser = parameter,
        allow_hyphen_values = true
    )]
    parameters: Vec<Json>,
    /// Most rows to print
    #[arg(long, value_name = "ROWS", default_value_t = 1000)]
    rows_max: u64,
    /// The form of printed rows
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, conflicts_with = "json")]
    format: Format,
}

/// What all statements of one command share.
pub(super) struct Statements {
    client: Client,
    path: String,
    pub(super) write: bool,
    pub(super) format: Format,
    rows_max: u64,
    /// Whether errors show the statement.
    shows_place: bool,
}

impl Sql {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let mut statements = Statements {
            client: context.admin()?,
            path: format!("/admin/actors{}/sql", self.actor.path()),
            write: self.write,
            format: self.format,
            rows_max: self.rows_max,
            shows_place: !context.output.is_json(),
        };
        let Some(sql) = self.text()? else {
            prompt::run(context, &self.actor, &mut statements)?;
            return Ok(ExitCode::SUCCESS);
        };
        if sql.trim_start().starts_with('.') {
            prompt::dot(context, &mut statements, sql.trim())?;
            return Ok(ExitCode::SUCCESS);
        }
        let document = statements.run(&sql, &self.parameters)?;
        rows::print(context.output, self.format, &document)?;
        tell_rest(context, &document, self.write);
        Ok(ExitCode::SUCCESS)
    }

    /// The statements; `None` if the user types them.
    fn text(&self) -> Result<Option<String>, Failure> {
        if let Some(path) = &self.file {
            let text = std::fs::read_to_string(path);
            return text.map(Some).map_err(|error| Failure::file("read", path, &error));
        }
        match &self.statement {
            Some(statement) if statement != "-" => Ok(Some(statement.clone())),
            None if std::io::stdin().is_terminal() => Ok(None),
            _ => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).map_err(|error| {
                    Failure::local(format!("cannot read statements from stdin: {error}"))
                })?;
                Ok(Some(text))
            }
        }
    }
}

impl Statements {
    /// Sends statements and returns the answer to the last one.
    pub(super) fn run(&self, sql: &str, parameters: &[Json]) -> Result<Json, Failure> {
        let request = json!({
            "sql": sql,
            "parameters": parameters,
            "write": self.write,
            "rows_max": self.rows_max,
        });
        match self.client.post_json(&self.path, &request) {
            Ok(answer) => answer.json(),
            Err(failure) => Err(self.with_hint(failure, sql)),
        }
    }

    /// Most denials are writes without `--write`; a wrong statement is shown with its place.
    fn with_hint(&self, mut failure: Failure, sql: &str) -> Failure {
        let body = &mut failure.body;
        if !self.write && (body.group.as_str(), body.code.as_str()) == ("sql", "denied") {
            body.message.push_str("; statements write only with --write (.write on at the prompt)");
        }
        if self.shows_place
            && let Some(offset) = body.details["offset"].as_u64()
            && let Some(place) = usize::try_from(offset).ok().and_then(|at| place(sql, at))
        {
            body.message.push_str(&place);
        }
        failure
    }
}

/// The line of `sql` that holds the byte at `offset`, with a mark below it. A long line is cut
/// around the mark.
fn place(sql: &str, offset: usize) -> Option<String> {
    let (before, after) = sql.split_at_checked(offset)?;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let before: Vec<char> = before[start..].chars().collect();
    let left = before.len().saturating_sub(PLACE_CHARS / 2);
    let after = after.lines().next().unwrap_or("").chars().take(PLACE_CHARS / 2);
    let line: String = before[left..].iter().copied().chain(after).collect();
    // A tab is wider than the mark, which has one column.
    let line = line.replace('\t', " ");
    Some(format!("\n  {}\n  {}^", line.trim_end(), " ".repeat(before.len() - left)))
}

/// What the table of rows does not show.
pub(super) fn tell_rest(context: &Context, document: &Json, write: bool) {
    let has_columns = document["columns"].as_array().is_some_and(|columns| !columns.is_empty());
    let changes = document["changes"].as_u64().unwrap_or(0);
    if has_columns && write && changes > 0 {
        context.output.note(&rows::changed(changes));
    }
    if document["more"] == true {
        context.output.note("there are more rows: --rows-max, or LIMIT and OFFSET");
    }
}

/// A parameter: JSON, or else the text itself, for users who leave out the quotes.
fn parameter(text: &str) -> Result<Json, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("{error}; a text is written with its quotes: '\"text\"'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_statement_is_shown_with_its_place() {
        assert_eq!(place("SELEC 1", 0).as_deref(), Some("\n  SELEC 1\n  ^"));
        assert_eq!(place("SELECT ü,\n\tx y z", 14).as_deref(), Some("\n   x y z\n     ^"));
        let long = format!("{}!{}", "a".repeat(500), "b".repeat(500));
        let shown = place(&long, 500).expect("a place");
        assert_eq!(shown.lines().nth(1).map(|line| line.chars().count()), Some(122));
        assert_eq!(shown.lines().nth(2).map(|line| line.find('^')), Some(Some(62)));
        assert_eq!(place("ü", 1), None);
        assert_eq!(place("a", 9), None);
    }
}
