//! What waits in an actor, its alarms or its messages: shown, retried and removed.
//!
//! Invariant: every order is answered with the list as it is then, so that its text ends with it.

use std::process::ExitCode;

use serde_json::{Value as Json, json};

use super::Context;
use super::failure::Failure;
use super::output::{cell, table};
use super::target::Target;

/// A list of what waits in an actor.
pub(super) struct Waiting {
    /// What one of it is called.
    pub(super) one: &'static str,
    /// What several are called: also the last segment of the route, and the field of an answer.
    pub(super) several: &'static str,
    /// The field that names one.
    pub(super) name: &'static str,
    /// The fields that are shown, each with its header.
    pub(super) columns: &'static [[&'static str; 2]],
    /// What a retry has done.
    pub(super) retried: &'static str,
    /// How many of those that do not wait a summary names.
    pub(super) named_max: usize,
}

impl Waiting {
    pub(super) fn list(&self, context: &Context, actor: &Target) -> Result<ExitCode, Failure> {
        let document = context.admin()?.get(&self.path(actor))?.json()?;
        context.output.result(&document, |document| self.shown(document))?;
        Ok(ExitCode::SUCCESS)
    }

    /// `None`: all of them.
    pub(super) fn retry(
        &self,
        context: &Context,
        actor: &Target,
        name: Option<&str>,
    ) -> Result<ExitCode, Failure> {
        self.order(context, &format!("{}/retry", self.path(actor)), name, self.retried)
    }

    pub(super) fn drop(
        &self,
        context: &Context,
        actor: &Target,
        name: &str,
    ) -> Result<ExitCode, Failure> {
        self.order(context, &format!("{}/drop", self.path(actor)), Some(name), "removed")
    }

    fn order(
        &self,
        context: &Context,
        to: &str,
        name: Option<&str>,
        done: &str,
    ) -> Result<ExitCode, Failure> {
        let document = context.admin()?.post_json(to, &json!({ (self.name): name }))?.json()?;
        context.output.result(&document, |document| {
            let count = match document["changed"].as_u64().unwrap_or(0) {
                1 => format!("1 {}", self.one),
                count => format!("{count} {}", self.several),
            };
            format!("{count} {done}\n{}", self.shown(document))
        })?;
        Ok(ExitCode::SUCCESS)
    }

    fn path(&self, actor: &Target) -> String {
        format!("/admin/actors{}/{}", actor.path(), self.several)
    }

    /// The list of an answer.
    pub(super) fn shown(&self, document: &Json) -> String {
        let waiting = document[self.several].as_array().map_or(&[][..], Vec::as_slice);
        if waiting.is_empty() {
            return format!("no {}", self.several);
        }
        let header = self.columns.iter().map(|[_, header]| (*header).to_owned()).collect();
        let row = |it: &Json| self.columns.iter().map(|[field, _]| cell(&it[*field])).collect();
        let shown = table(header, waiting.iter().map(row).collect());
        if document["more"] == true { format!("{shown}\nand more") } else { shown }
    }

    /// How many there are, and what is wrong with those that do not wait for their turn.
    pub(super) fn summary(&self, waiting: &Json) -> Option<String> {
        let waiting = waiting.as_array().filter(|waiting| !waiting.is_empty())?;
        let mut text = waiting.len().to_string();
        let stuck: Vec<&Json> = waiting.iter().filter(|it| it["state"] != "waits").collect();
        for it in stuck.iter().take(self.named_max) {
            let (name, state) = (cell(&it[self.name]), cell(&it["state"]));
            text.push_str(&format!("; {name} is {state}"));
            if !it["error"].is_null() {
                text.push_str(&format!(": {}", cell(&it["error"])));
            }
        }
        if stuck.len() > self.named_max {
            text.push_str(&format!("; and {} more", stuck.len() - self.named_max));
        }
        Some(text)
    }
}
