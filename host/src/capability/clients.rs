//! `stockade-client:*`: calls of other actors by typed functions, which each component brings along.
//!
//! ```text
//!  [constructor]counter(key)   a handle of this state: kind and key. Nothing is called
//!  [method]counter.add(by)     values ── actors::call_typed ──> value, or the error as the import has it
//! ```
//! Invariants:
//! - A typed call passes every check of a call by name.
//! - A value that the guest gets has the type of its import, since the callee's was compared with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use stockade_depot::ActorId;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType, Val};

use super::State;
use crate::bindings::stockade::actor::actors as wit;
use crate::bindings::stockade::actor::sqlite::Reason;
use crate::engine::{Client, ClientMethod};
use crate::limits::CLIENT_HANDLES_MAX;
use crate::typed::Signature;

/// A guest's handle of an actor that it calls. The error: its name cannot be one.
#[derive(Debug)]
struct ClientHandle(Result<ActorId, String>);

/// The linker with these clients. `kinds`: where an import leads to another kind than it names.
///
/// # Errors
/// Two definitions of one name, which is a mistake of the host.
pub fn link(
    linker: &Linker<State>,
    clients: &[Client],
    kinds: &BTreeMap<String, String>,
) -> wasmtime::Result<Linker<State>> {
    let mut linker = linker.clone();
    for client in clients {
        let mut instance = linker.instance(&client.import)?;
        let kind = kinds.get(&client.import).unwrap_or(&client.kind);
        add_resource(&mut instance, &client.resource, Arc::from(kind.as_str()))?;
        client.methods.iter().try_for_each(|method| add_method(&mut instance, method))?;
    }
    Ok(linker)
}

fn add_resource(
    instance: &mut LinkerInstance<'_, State>,
    resource: &str,
    kind: Arc<str>,
) -> wasmtime::Result<()> {
    let ty = ResourceType::host::<ClientHandle>();
    instance.resource(resource, ty, |mut store, handle| store.data_mut().drop_client(handle))?;
    let make = move |mut store: StoreContextMut<'_, State>, (key,): (String,)| {
        store.data_mut().new_client(&kind, &key).map(|handle| (handle,))
    };
    instance.func_wrap(&format!("[constructor]{resource}"), make)
}

fn add_method(
    instance: &mut LinkerInstance<'_, State>,
    method: &ClientMethod,
) -> wasmtime::Result<()> {
    let signature = Arc::clone(&method.signature);
    instance.func_new_async(&method.import, move |store, _, arguments, results| {
        Box::new(call(store, Arc::clone(&signature), arguments, results))
    })
}

/// A call of a method. The engine has checked the arguments against the import.
async fn call(
    mut store: StoreContextMut<'_, State>,
    signature: Arc<Signature>,
    arguments: &[Val],
    results: &mut [Val],
) -> wasmtime::Result<()> {
    let [Val::Resource(this), values @ ..] = arguments else {
        wasmtime::bail!("BUG: a method of a client takes its handle first");
    };
    let this: Resource<ClientHandle> = this.try_into_resource(&mut store)?;
    let state = store.data_mut();
    let to = state.table.get(&this)?.0.clone();
    let answer = state.call_typed(to, signature, values).await;
    let [result] = results else {
        wasmtime::bail!("BUG: a method of a client has one result");
    };
    *result = Val::Result(match answer {
        Ok(value) => Ok(value.map(Box::new)),
        Err(error) => Err(Some(Box::new(value_of(error)))),
    });
    Ok(())
}

impl State {
    /// The handle of an actor. One too many is a trap.
    fn new_client(&mut self, kind: &str, key: &str) -> wasmtime::Result<Resource<ClientHandle>> {
        if self.client_handles >= CLIENT_HANDLES_MAX {
            wasmtime::bail!("the guest holds {CLIENT_HANDLES_MAX} clients and makes one more");
        }
        let actor = ActorId::new(kind, key).map_err(|error| error.to_string());
        let handle = self.table.push(ClientHandle(actor))?;
        self.client_handles += 1;
        Ok(handle)
    }

    fn drop_client(&mut self, handle: u32) -> wasmtime::Result<()> {
        self.table.delete(Resource::<ClientHandle>::new_own(handle))?;
        self.client_handles -= 1;
        Ok(())
    }
}

// --- errors, as values ----------------------------------------------------------------------------

/// An error as a value of the type that clients have (`CALL_ERROR` of the engine).
fn value_of(error: wit::Error) -> Val {
    let text = |text: String| Some(Val::String(text));
    let (case, payload) = match error {
        wit::Error::Invalid(failure) => ("invalid", Some(failure_of(failure))),
        wit::Error::NotFound(failure) => ("not-found", Some(failure_of(failure))),
        wit::Error::Denied(line) => ("denied", text(line)),
        wit::Error::OpenTransaction => ("open-transaction", None),
        wit::Error::CallCycle(cycle) => ("call-cycle", Some(cycle_of(cycle))),
        wit::Error::LimitExceeded(limit) => ("limit-exceeded", Some(limit_of(limit))),
        wit::Error::Overloaded(failure) => ("overloaded", Some(failure_of(failure))),
        wit::Error::TimedOut(failure) => ("timed-out", Some(failure_of(failure))),
        wit::Error::UnknownOutcome(failure) => ("unknown-outcome", Some(failure_of(failure))),
        wit::Error::Failed(failure) => ("failed", Some(failure_of(failure))),
        wit::Error::NotOpen => ("not-open", None),
        wit::Error::Revoked(reason) => ("revoked", Some(reason_of(reason))),
        wit::Error::Other(words) => ("other", text(words)),
    };
    Val::Variant(case.to_owned(), payload.map(Box::new))
}

fn record<const N: usize>(fields: [(&str, Val); N]) -> Val {
    Val::Record(fields.map(|(name, value)| (name.to_owned(), value)).into())
}

fn case(name: &str) -> Val {
    Val::Enum(name.to_owned())
}

fn failure_of(failure: wit::Failure) -> Val {
    let wit::Failure { code, message, advice, verdict, details } = failure;
    let advice = case(match advice {
        wit::Advice::Retry => "retry",
        wit::Advice::Reroute => "reroute",
        wit::Advice::Fix => "fix",
        wit::Advice::Never => "never",
        wit::Advice::UnknownOutcome => "unknown-outcome",
    });
    let verdict = verdict.map(|verdict| match verdict {
        wit::Verdict::Committed => "committed",
        wit::Verdict::NotCommitted => "not-committed",
        wit::Verdict::Indeterminate => "indeterminate",
    });
    record([
        ("code", Val::String(code)),
        ("message", Val::String(message)),
        ("advice", advice),
        ("verdict", Val::Option(verdict.map(|verdict| Box::new(case(verdict))))),
        ("details", Val::String(details)),
    ])
}

fn cycle_of(cycle: wit::Cycle) -> Val {
    let wit::Cycle { chain, crosses } = cycle;
    let name = |wit::ActorName { kind, key }: wit::ActorName| {
        record([("kind", Val::String(kind)), ("key", Val::String(key))])
    };
    let chain = Val::List(chain.into_iter().map(name).collect());
    record([("chain", chain), ("crosses", Val::Bool(crosses))])
}

fn limit_of(limit: wit::Limit) -> Val {
    case(match limit {
        wit::Limit::CallsInFlight => "calls-in-flight",
        wit::Limit::ChainLength => "chain-length",
        wit::Limit::Memory => "memory",
    })
}

fn reason_of(reason: Reason) -> Val {
    case(match reason {
        Reason::Shutdown => "shutdown",
        Reason::Slept => "slept",
        Reason::Fenced => "fenced",
        Reason::Trapped => "trapped",
        Reason::Budget => "budget",
        Reason::Upgraded => "upgraded",
        Reason::Destroyed => "destroyed",
        Reason::Storage => "storage",
        Reason::Operator => "operator",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::CALL_ERROR;

    /// The type of a value as WIT text; the type of an enum is that of the error with such a case.
    fn type_of(value: &Val) -> String {
        match value {
            Val::String(_) => "string".to_owned(),
            Val::Bool(_) => "bool".to_owned(),
            Val::List(items) => format!("list<{}>", type_of(&items[0])),
            Val::Option(Some(value)) => format!("option<{}>", type_of(value)),
            Val::Record(fields) => {
                let fields =
                    fields.iter().map(|(name, value)| format!("{name}: {}", type_of(value)));
                format!("record {{ {} }}", fields.collect::<Vec<_>>().join(", "))
            }
            Val::Enum(case) => {
                let enums = CALL_ERROR.split("enum { ").skip(1);
                let mut cases = enums.map(|rest| rest.split(" }").next().unwrap_or(""));
                let with = cases.find(|cases| cases.split(", ").any(|one| one == case));
                format!("enum {{ {} }}", with.unwrap_or_else(|| panic!("no enum has {case}")))
            }
            other => panic!("no error has {other:?}"),
        }
    }

    #[test]
    fn every_error_is_a_value_of_the_type_that_clients_have() {
        let failures: Vec<wit::Failure> = [
            (wit::Advice::Retry, wit::Verdict::Committed),
            (wit::Advice::Reroute, wit::Verdict::NotCommitted),
            (wit::Advice::Fix, wit::Verdict::Indeterminate),
            (wit::Advice::Never, wit::Verdict::Committed),
            (wit::Advice::UnknownOutcome, wit::Verdict::Committed),
        ]
        .into_iter()
        .map(|(advice, verdict)| wit::Failure {
            code: "group.code".to_owned(),
            message: "words".to_owned(),
            advice,
            verdict: Some(verdict),
            details: "{}".to_owned(),
        })
        .collect();
        let name = || wit::ActorName { kind: "kind".to_owned(), key: "key".to_owned() };
        let limits = [wit::Limit::CallsInFlight, wit::Limit::ChainLength, wit::Limit::Memory];
        let reasons = [
            Reason::Shutdown,
            Reason::Slept,
            Reason::Fenced,
            Reason::Trapped,
            Reason::Budget,
            Reason::Upgraded,
            Reason::Destroyed,
            Reason::Storage,
            Reason::Operator,
        ];
        let failing: [fn(wit::Failure) -> wit::Error; 6] = [
            wit::Error::Invalid,
            wit::Error::NotFound,
            wit::Error::Overloaded,
            wit::Error::TimedOut,
            wit::Error::UnknownOutcome,
            wit::Error::Failed,
        ];
        let errors = failing
            .into_iter()
            .flat_map(|error| failures.iter().cloned().map(error))
            .chain(limits.map(wit::Error::LimitExceeded))
            .chain(reasons.map(wit::Error::Revoked))
            .chain([
                wit::Error::Denied("line".to_owned()),
                wit::Error::OpenTransaction,
                wit::Error::CallCycle(wit::Cycle { chain: vec![name()], crosses: true }),
                wit::Error::NotOpen,
                wit::Error::Other("words".to_owned()),
            ]);
        for error in errors {
            let Val::Variant(case, payload) = value_of(error) else {
                panic!("an error is a variant")
            };
            let text = match payload {
                Some(payload) => format!(" {case}({})", type_of(&payload)),
                None => format!(" {case}, "),
            };
            assert!(CALL_ERROR.contains(&text), "{text}");
        }
    }
}
