//! The table of every error that leaves the process: group, code, HTTP status, retry advice.
//!
//! Rows are stable: clients branch on `group.code` and `retry`. The test below pins each row:
//! adding a row is compatible, changing one breaks clients.

use serde::{Deserialize, Serialize};

/// What the caller should do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Retry {
    /// Nothing was done: send the same again, here, a little later.
    Retry,
    /// Nothing was done: ask again who owns the actor, then send it there.
    Reroute,
    /// The same request will fail again: change the request, the component or a limit.
    Fix,
    /// The request cannot succeed.
    Never,
    /// The request has or may have taken effect: check before sending it again.
    UnknownOutcome,
}

impl Retry {
    /// The word in the body.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Reroute => "reroute",
            Self::Fix => "fix",
            Self::Never => "never",
            Self::UnknownOutcome => "unknown-outcome",
        }
    }
}

/// One row per error; the enum and its columns in one place.
macro_rules! table {
    ($(
        $(#[$doc:meta])*
        $variant:ident: $group:literal $name:literal $status:literal $retry:ident;
    )*) => {
        /// An error that can leave the process.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $( $(#[$doc])* $variant, )*
        }

        impl Code {
            /// Every row, in the order of the table.
            pub const ALL: &[Self] = &[$( Self::$variant, )*];

            /// The part of the system that answers.
            #[must_use]
            pub fn group(self) -> &'static str {
                match self { $( Self::$variant => $group, )* }
            }

            /// The name, stable within its group.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// The HTTP status of the answer.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $( Self::$variant => $status, )* }
            }

            /// The advice, as long as the call handed no commit to the store.
            #[must_use]
            pub fn retry(self) -> Retry {
                match self { $( Self::$variant => Retry::$retry, )* }
            }
        }
    };
}

table! {
    /// The request's path, query or body does not read as what the route takes.
    Malformed:          "request" "malformed"              400 Fix;
    /// The body is not JSON, or not WAVE, as its content type says.
    InvalidBody:        "request" "invalid-body"           400 Fix;
    /// The body has another content type than the route takes.
    ContentType:        "request" "content-type"           415 Fix;
    /// The head did not arrive in time. Nothing was done.
    HeadTimeout:        "request" "head-timeout"           408 Retry;
    /// The head is larger than allowed, or has too many fields.
    HeadTooLarge:       "request" "head-too-large"         431 Fix;
    /// Path and query are longer than allowed.
    UriTooLong:         "request" "uri-too-long"           414 Fix;
    /// The body did not arrive in time. Nothing was done.
    BodyTimeout:        "request" "body-timeout"           408 Retry;
    /// The body, or a call's arguments, are larger than allowed.
    PayloadTooLarge:    "request" "payload-too-large"      413 Fix;
    /// No token, or another one than the host's.
    Unauthorized:       "request" "unauthorized"           401 Fix;
    /// The token is a caller's, and the listener is for operators.
    Forbidden:          "request" "forbidden"              403 Fix;
    /// A browser sent this from another site's page, or a name that is not this host's.
    ForeignOrigin:      "request" "foreign-origin"         403 Never;
    /// The route belongs to the other listener.
    WrongListener:      "request" "wrong-listener"         421 Fix;
    /// No such route on any listener.
    NoRoute:            "request" "no-route"               404 Fix;
    /// The route does not take this HTTP method.
    HttpMethod:         "request" "http-method"            405 Fix;
    /// Kind or key cannot name an actor.
    InvalidActor:       "request" "invalid-actor"          400 Fix;
    /// Nothing was deployed under this name.
    KindMissing:        "request" "kind-missing"           404 Fix;
    /// No such actor.
    ActorMissing:       "request" "actor-missing"          404 Fix;
    /// The component exports no such method.
    MethodMissing:      "request" "method-missing"         404 Fix;
    /// The arguments do not fit the method's types.
    Arguments:          "request" "arguments"              422 Fix;
    /// The method has other types than the actor that calls it was built with. It did not run.
    Signature:          "request" "signature"              422 Fix;
    /// The settings of a kind cannot be used.
    Manifest:           "request" "manifest"               422 Fix;
    /// The component cannot be used.
    Component:          "request" "component"              422 Fix;
    /// The host was not started with faults allowed. Nothing happened.
    FaultsNotAllowed:   "request" "faults-not-allowed"     403 Fix;
    /// The fault's numbers are out of their bounds.
    InvalidFault:       "request" "invalid-fault"          422 Fix;
    /// The fault needs an actor that is awake here.
    ActorAsleep:        "request" "actor-asleep"           409 Fix;
    /// Actors of the kind exist: the kind is not removed.
    KindInUse:          "request" "kind-in-use"            409 Fix;

    /// The actor's mailbox, the room for awake actors, or the memory of all guests is full.
    ActorOverloaded:    "actor" "overloaded"               503 Retry;
    /// The component trapped. `retry` if it ran out of memory or handles: a new instance has all of
    /// them.
    Trapped:            "actor" "trapped"                  500 Fix;
    /// The call used up its budget.
    BudgetExhausted:    "actor" "budget-exhausted"         504 Fix;
    /// The method answered more than allowed.
    ReplyTooLarge:      "actor" "reply-too-large"          500 Fix;
    /// `restore` or `start` failed. `retry` if the hook ran out of time, or the host ran out of
    /// room.
    StartFailed:        "actor" "start-failed"             500 Fix;
    /// A call of an actor would wait for itself. `retry` if two chains cross: the other one ends.
    CallCycle:          "actor" "call-cycle"               409 Fix;
    /// The call's id was used for another method, or for other arguments. Nothing was done.
    CallIdReused:       "actor" "call-id-reused"           409 Fix;
    /// The call's id is more than a day old, and nothing is recorded of it any more. Nothing was done
    /// now.
    CallExpired:        "actor" "call-expired"             410 Never;
    /// The outcome of the call was settled: it never runs. Nothing was done.
    CallSettled:        "actor" "call-settled"             409 Never;
    /// The call has begun earlier, and has not ended: some of its commits may be kept.
    CallPartial:        "actor" "call-partial"             409 UnknownOutcome;
    /// The call has been done earlier; its answer was not kept.
    CallAnswerGone:     "actor" "call-answer-gone"         410 Never;
    /// The actor has as many records of calls as it may have. Nothing was done.
    CallRecordsFull:    "actor" "call-records-full"        429 Retry;
    /// The actor has messages that their receivers do not have: it is not destroyed without force.
    HasOutbox:          "actor" "has-outbox"               409 Fix;
    /// The generation is ending and the call was not begun.
    Stopping:           "actor" "stopping"                 503 Retry;
    /// The actor is being destroyed.
    Destroying:         "actor" "destroying"               409 Retry;
    /// The actor's database is being imported.
    Importing:          "actor" "importing"                409 Retry;
    /// The generation ended during the call.
    Ended:              "actor" "ended"                    503 Retry;
    /// The actor trapped too often and waits.
    CrashLooping:       "actor" "crash-looping"            503 Retry;
    /// The actors of the kind have together what its quota allows. None was created.
    QuotaReached:       "actor" "quota-reached"            507 Fix;
    /// Actors of the kind are created faster than its quota allows. None was created.
    CreatedTooFast:     "actor" "created-too-fast"         429 Retry;
    /// Another process runs the actor; the details have its address.
    Elsewhere:          "actor" "elsewhere"                421 Reroute;
    /// The actor's newest commit is before the one that the request asks for. Nothing was done.
    Behind:             "actor" "behind"                   503 Retry;
    /// A call that another process passed on names a generation that this process does not run.
    /// Nothing was done.
    Reroute:            "actor" "reroute"                  421 Reroute;
    /// This process is about to begin or to end a generation of the actor. Nothing was done.
    Starting:           "actor" "starting"                 503 Retry;

    /// Another generation owns the database.
    HeadFenceMismatch:  "depot" "head-fence-mismatch"      409 Reroute;
    /// Another attempt to take the actor over won.
    Superseded:         "depot" "superseded"               409 Reroute;
    /// A commit was lost, or is not known to be kept.
    CommitLost:         "depot" "commit-lost"              503 UnknownOutcome;
    /// Retention has given up the state that was asked for.
    HistoryGone:        "depot" "history-gone"             410 Fix;
    /// There is no such commit.
    NoCommit:           "depot" "no-commit"                404 Fix;
    /// Other databases have this one as their base.
    HasForks:           "depot" "has-forks"                409 Fix;
    /// No such database.
    DatabaseMissing:    "depot" "database-missing"         404 Fix;
    /// The store did not answer; surely nothing was done.
    StoreUnavailable:   "depot" "unavailable"              503 Retry;
    /// Another server of the store keeps the actor's shard, or is about to. Nothing was done.
    StoreElsewhere:     "depot" "elsewhere"                503 Retry;
    /// The store may have done it.
    StoreUnknown:       "depot" "outcome-unknown"          503 UnknownOutcome;
    /// A limit of the store.
    StoreRefused:       "depot" "refused"                  413 Fix;
    /// Stored bytes do not match their checksum.
    StoreCorrupt:       "depot" "corrupt"                  500 Never;
    /// The store has no room. Nothing was done.
    StoreFull:          "depot" "full"                     507 Retry;
    /// The store was closed, or a file of it has failed: this process ends.
    StoreClosed:        "depot" "closed"                   503 Retry;

    /// The file, or its copy, cannot be read or written.
    ImportUnreadable:   "import" "unreadable"              422 Fix;
    /// The file is no SQLite database.
    ImportNotSqlite:    "import" "not-sqlite"              422 Fix;
    /// SQLite finds the file damaged.
    ImportDamaged:      "import" "damaged"                 422 Fix;
    /// The file is a database that actors cannot have.
    ImportUnsupported:  "import" "unsupported"             422 Fix;
    /// The file is larger than the kind allows.
    ImportTooLarge:     "import" "too-large"               413 Fix;
    /// The file changed while it was copied.
    ImportBusy:         "import" "busy"                    409 Retry;
    /// The actor exists already, and is no unfinished import.
    ImportExists:       "import" "exists"                  409 Fix;

    /// A write broke a rule of the schema.
    SqlConstraint:      "sql" "constraint"                 409 Fix;
    /// Another statement is in the way.
    SqlBusy:            "sql" "busy"                       409 Retry;
    /// The host forbids the statement.
    SqlDenied:          "sql" "denied"                     403 Fix;
    /// The statement was stopped at its deadline or by the end of the generation.
    SqlInterrupted:     "sql" "interrupted"                503 Retry;
    /// A limit of the host.
    SqlLimitExceeded:   "sql" "limit-exceeded"             422 Fix;
    /// The database has reached its size limit, or those of its kind together have.
    SqlFull:            "sql" "full"                       507 Fix;
    /// The transaction changed more than a commit may carry.
    SqlCommitTooLarge:  "sql" "commit-too-large"           413 Fix;
    /// The generation's handles were revoked.
    SqlRevoked:         "sql" "revoked"                    503 Retry;
    /// The cursor, transaction or blob has ended.
    SqlNotOpen:         "sql" "not-open"                   500 Never;
    /// SQLite rejected the statement.
    SqlStatement:       "sql" "statement"                  400 Fix;
    /// The store did not answer in time, or the guests' memory is used up.
    SqlUnavailable:     "sql" "unavailable"                503 Retry;
    /// A parameter is malformed or missing.
    SqlInvalidArgument: "sql" "invalid-argument"           400 Fix;
    /// A row of a packed list failed; rows before it took effect.
    SqlRowFailed:       "sql" "row-failed"                 409 UnknownOutcome;
    /// Anything else SQLite reports.
    SqlOther:           "sql" "other"                      500 Never;

    /// The host has as many requests in progress as it allows.
    HostOverloaded:     "host" "overloaded"                503 Retry;
    /// The host takes no more work.
    ShuttingDown:       "host" "shutting-down"             503 Retry;
    /// The host gives up its actors and begins none. Nothing was done.
    Draining:           "host" "draining"                  503 Reroute;
    /// The host could not show in time that it lives: others may take its actors over. Nothing was
    /// done.
    LeaseLost:          "host" "lease-lost"                503 Retry;
    /// No other process takes actors over: the host does not drain.
    Alone:              "host" "alone"                     409 Fix;
    /// The process that runs the actor was not reached. Nothing was done.
    PeerUnreachable:    "host" "peer-unreachable"          503 Retry;
    /// The caller's time was over before the call reached the actor. Nothing was done.
    DeadlinePassed:     "host" "deadline-passed"           504 Retry;
    /// The process that runs the actor was sent the call and has not answered: it may have run.
    Unanswered:         "host" "unanswered"                504 UnknownOutcome;
    /// A directory of the host cannot be used: it did not start.
    Directory:          "host" "directory"                 500 Fix;
    /// The wasm engine cannot be made: the host did not start.
    Engine:             "host" "engine"                    500 Fix;
    /// The host itself failed; the log has the text.
    Internal:           "core" "internal"                  500 UnknownOutcome;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What clients rely on. Update it only to add a row.
    const GOLDEN: &str = "\
request.malformed 400 fix
request.invalid-body 400 fix
request.content-type 415 fix
request.head-timeout 408 retry
request.head-too-large 431 fix
request.uri-too-long 414 fix
request.body-timeout 408 retry
request.payload-too-large 413 fix
request.unauthorized 401 fix
request.forbidden 403 fix
request.foreign-origin 403 never
request.wrong-listener 421 fix
request.no-route 404 fix
request.http-method 405 fix
request.invalid-actor 400 fix
request.kind-missing 404 fix
request.actor-missing 404 fix
request.method-missing 404 fix
request.arguments 422 fix
request.signature 422 fix
request.manifest 422 fix
request.component 422 fix
request.faults-not-allowed 403 fix
request.invalid-fault 422 fix
request.actor-asleep 409 fix
request.kind-in-use 409 fix
actor.overloaded 503 retry
actor.trapped 500 fix
actor.budget-exhausted 504 fix
actor.reply-too-large 500 fix
actor.start-failed 500 fix
actor.call-cycle 409 fix
actor.call-id-reused 409 fix
actor.call-expired 410 never
actor.call-settled 409 never
actor.call-partial 409 unknown-outcome
actor.call-answer-gone 410 never
actor.call-records-full 429 retry
actor.has-outbox 409 fix
actor.stopping 503 retry
actor.destroying 409 retry
actor.importing 409 retry
actor.ended 503 retry
actor.crash-looping 503 retry
actor.quota-reached 507 fix
actor.created-too-fast 429 retry
actor.elsewhere 421 reroute
actor.behind 503 retry
actor.reroute 421 reroute
actor.starting 503 retry
depot.head-fence-mismatch 409 reroute
depot.superseded 409 reroute
depot.commit-lost 503 unknown-outcome
depot.history-gone 410 fix
depot.no-commit 404 fix
depot.has-forks 409 fix
depot.database-missing 404 fix
depot.unavailable 503 retry
depot.elsewhere 503 retry
depot.outcome-unknown 503 unknown-outcome
depot.refused 413 fix
depot.corrupt 500 never
depot.full 507 retry
depot.closed 503 retry
import.unreadable 422 fix
import.not-sqlite 422 fix
import.damaged 422 fix
import.unsupported 422 fix
import.too-large 413 fix
import.busy 409 retry
import.exists 409 fix
sql.constraint 409 fix
sql.busy 409 retry
sql.denied 403 fix
sql.interrupted 503 retry
sql.limit-exceeded 422 fix
sql.full 507 fix
sql.commit-too-large 413 fix
sql.revoked 503 retry
sql.not-open 500 never
sql.statement 400 fix
sql.unavailable 503 retry
sql.invalid-argument 400 fix
sql.row-failed 409 unknown-outcome
sql.other 500 never
host.overloaded 503 retry
host.shutting-down 503 retry
host.draining 503 reroute
host.lease-lost 503 retry
host.alone 409 fix
host.peer-unreachable 503 retry
host.deadline-passed 504 retry
host.unanswered 504 unknown-outcome
host.directory 500 fix
host.engine 500 fix
core.internal 500 unknown-outcome
";

    #[test]
    fn the_table_is_what_clients_rely_on() {
        let table: String = Code::ALL
            .iter()
            .map(|code| {
                let retry = code.retry().as_str();
                format!("{}.{} {} {retry}\n", code.group(), code.name(), code.status())
            })
            .collect();
        assert_eq!(table, GOLDEN);
    }

    /// What people read is what clients get.
    #[test]
    fn the_readme_has_every_row() {
        let readme = include_str!("../../../docs/reference/errors.md");
        let rows: String = readme
            .lines()
            .filter_map(|line| {
                let mut cells = line.split('|').map(str::trim).skip(1);
                let code = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
                let (status, retry) = (cells.next()?, cells.next()?);
                status.parse::<u16>().ok().map(|status| format!("{code} {status} {retry}\n"))
            })
            .collect();
        assert_eq!(rows, GOLDEN);
    }

    #[test]
    fn no_two_rows_share_a_code() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| (code.group(), code.name())).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }
}
