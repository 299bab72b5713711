//! Why a command failed: the host's error as received, or an error of the command itself.
//!
//! Both have the same body, so that scripts read one format. The codes of group `client` never come
//! from a host.

use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use stockade::error::{Body, HostError, Retry};

/// Exit code for an error of actor or host, and for a file that cannot be used.
const FAILED: u8 = 1;
/// Exit code for wrong usage; clap uses the same.
pub(super) const USAGE: u8 = 2;
/// Exit code if no server was reached.
const UNREACHED: u8 = 3;
/// Exit code after a signal: 128 + SIGINT, as shells expect.
const INTERRUPTED: u8 = 130;

/// Why a command failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// The printed error.
    pub(super) body: Box<Body>,
    exit: u8,
}

impl Failure {
    fn client(code: &str, message: String, retry: Retry, exit: u8) -> Self {
        let (group, code) = ("client".to_owned(), code.to_owned());
        Self { body: Box::new(Body { group, code, message, retry, details: json!({}) }), exit }
    }

    /// The command line is wrong.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::client("usage", message.into(), Retry::Fix, USAGE)
    }

    /// No server answers at `address`.
    pub(super) fn unreachable(address: &str, why: &impl Display) -> Self {
        let message =
            format!("cannot reach {address}: {why}; is `stockade serve` running, and there?");
        Self::client("unreachable", message, Retry::Retry, UNREACHED)
    }

    /// The server at `address` does not prove to be the host. Nothing was sent.
    pub(super) fn untrusted(address: &str, why: &impl Display) -> Self {
        let message = format!(
            "{address} is not trusted: {why}; --ca-file FILE names whom to trust, and the address \
             must be a name in its certificate"
        );
        Self::client("untrusted", message, Retry::Fix, FAILED)
    }

    /// The connection broke after the request was sent: the host may have done the request.
    pub(super) fn broke_off(address: &str, why: &impl Display) -> Self {
        let message = format!("{address} broke off before its answer was complete: {why}");
        Self::client("broke-off", message, Retry::UnknownOutcome, FAILED)
    }

    /// The answer is not that of a stockade host.
    pub(super) fn strange_answer(address: &str, what: &impl Display) -> Self {
        let message = format!("{address} does not answer like a stockade host: {what}");
        Self::client("strange-answer", message, Retry::Fix, FAILED)
    }

    /// A file cannot be used. `verb` is the attempted action: "read the token from".
    pub(super) fn file(verb: &str, path: &Path, why: &impl Display) -> Self {
        let message = format!("cannot {verb} {}: {why}", path.display());
        Self::client("file", message, Retry::Fix, FAILED)
    }

    /// The store of `--store` cannot be opened. `message` names it.
    pub(super) fn no_store(message: String, retry: Retry) -> Self {
        Self::client("no-store", message, retry, FAILED)
    }

    /// A shard is not moved, or not as a whole. `message` says what to do.
    pub(super) fn not_moved(message: String, retry: Retry) -> Self {
        Self::client("not-moved", message, retry, FAILED)
    }

    /// A signal ended the command. `message` says how it is continued.
    pub(super) fn interrupted(message: String) -> Self {
        Self::client("interrupted", message, Retry::Retry, INTERRUPTED)
    }

    /// The result is damaged.
    pub(super) fn damaged(message: String) -> Self {
        Self::client("damaged", message, Retry::Never, FAILED)
    }

    /// Any other failure on this side.
    pub(super) fn local(message: String) -> Self {
        Self::client("local", message, Retry::Fix, FAILED)
    }

    /// What the host answered.
    pub(super) fn answered(body: Body) -> Self {
        Self { body: Box::new(body), exit: FAILED }
    }

    /// The command's exit code.
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit)
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        // Without a server in between there is no log with the cause: the text is shown.
        let mut body = error.body();
        body.message = error.to_string();
        Self::answered(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scripts depend on these numbers.
    #[test]
    fn codes_and_exits_are_what_scripts_rely_on() {
        let path = Path::new("a");
        for (failure, code, retry, exit) in [
            (Failure::usage("m"), "usage", Retry::Fix, 2),
            (Failure::unreachable("a", &"m"), "unreachable", Retry::Retry, 3),
            (Failure::untrusted("a", &"m"), "untrusted", Retry::Fix, 1),
            (Failure::broke_off("a", &"m"), "broke-off", Retry::UnknownOutcome, 1),
            (Failure::strange_answer("a", &"m"), "strange-answer", Retry::Fix, 1),
            (Failure::file("read", path, &"m"), "file", Retry::Fix, 1),
            (Failure::no_store("m".to_owned(), Retry::Retry), "no-store", Retry::Retry, 1),
            (Failure::not_moved("m".to_owned(), Retry::Retry), "not-moved", Retry::Retry, 1),
            (Failure::interrupted("m".to_owned()), "interrupted", Retry::Retry, 130),
            (Failure::damaged("m".to_owned()), "damaged", Retry::Never, 1),
            (Failure::local("m".to_owned()), "local", Retry::Fix, 1),
        ] {
            assert_eq!(failure.body.group, "client");
            assert_eq!((failure.body.code.as_str(), failure.body.retry), (code, retry));
            assert_eq!(failure.exit, exit, "{code}");
        }
    }
}
