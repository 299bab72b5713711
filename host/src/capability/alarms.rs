//! `stockade:actor/alarms`: the guest's alarms, and the one translation of their errors to the WIT (of
//! those of SQL: `rows`).
//!
//! The rows are in [`crate::sqlite`]; here arguments of the guest are checked.

use super::State;
use crate::bindings::AlarmRefusal;
use crate::bindings::stockade::actor::alarms as wit;
use crate::limits::{ALARM_NAME_BYTES_MAX, ALARM_PAYLOAD_BYTES_MAX, ALARMS_MAX};
use crate::schedule::{Schedule, time};
use crate::sqlite::{Alarm, Connection, NewAlarm, TooManyAlarms};

impl State {
    /// The connection, for a name that an alarm can have. The name is guest-controlled.
    fn alarms_of(&mut self, name: &str) -> Result<&mut Connection, AlarmRefusal> {
        let bytes = name.len();
        if !(1..=ALARM_NAME_BYTES_MAX).contains(&bytes) || name.contains('\0') {
            return Err(AlarmRefusal::Invalid(format!(
                "a name of {bytes} bytes: it has 1 to {ALARM_NAME_BYTES_MAX}, and no U+0000"
            )));
        }
        Ok(self.sql()?)
    }

    fn schedule(&self, schedule: wit::Schedule) -> Result<(Schedule, i64), AlarmRefusal> {
        let now = self.clock.now_ms();
        let later = |ms: u64| time(u64::try_from(now).unwrap_or_default().saturating_add(ms));
        Ok(match schedule {
            wit::Schedule::At(at) => (Schedule::Once, time(at)?),
            wit::Schedule::After(ms) => (Schedule::Once, later(ms)?),
            wit::Schedule::Every(ms) => (Schedule::every(ms)?, later(ms)?),
            wit::Schedule::Cron(wit::Cron { expression, zone }) => {
                Schedule::cron(&expression, &zone, now)?
            }
        })
    }
}

impl wit::Host for State {
    fn set(
        &mut self,
        name: String,
        schedule: wit::Schedule,
        payload: Vec<u8>,
    ) -> Result<(), AlarmRefusal> {
        self.alarms_of(&name)?;
        if !self.has_alarm_handler {
            return Err(AlarmRefusal::NoHandler);
        }
        if payload.len() as u64 > ALARM_PAYLOAD_BYTES_MAX {
            return Err(AlarmRefusal::PayloadTooLarge);
        }
        self.keeps_due("alarms")?;
        let (schedule, due) = self.schedule(schedule)?;
        let new = NewAlarm { name: &name, schedule: &schedule, due, payload };
        self.alarms_of(&name)?.set_alarm(new)?.map_err(|TooManyAlarms| AlarmRefusal::TooMany)
    }

    fn cancel(&mut self, name: String) -> Result<bool, AlarmRefusal> {
        Ok(self.alarms_of(&name)?.cancel_alarm(&name)?)
    }

    fn get(&mut self, name: String) -> Result<Option<(wit::Alarm, Vec<u8>)>, AlarmRefusal> {
        let found = self.alarms_of(&name)?.alarm(&name)?;
        Ok(found.map(|(alarm, payload)| (alarm.into(), payload)))
    }

    fn list_alarms(
        &mut self,
        after: Option<String>,
        max: u32,
    ) -> Result<Vec<wit::Alarm>, AlarmRefusal> {
        let alarms = self.sql()?.alarms(after.as_deref().unwrap_or_default(), max.into())?;
        Ok(alarms.into_iter().map(Into::into).collect())
    }

    fn convert_error(&mut self, refusal: AlarmRefusal) -> wasmtime::Result<wit::Error> {
        Ok(refusal.into())
    }
}

impl From<Alarm> for wit::Alarm {
    fn from(alarm: Alarm) -> Self {
        let ms = |ms: i64| u64::try_from(ms).unwrap_or_default();
        let schedule = match alarm.schedule {
            Schedule::Once => wit::Schedule::At(ms(alarm.due)),
            Schedule::Every(period) => wit::Schedule::Every(ms(period)),
            Schedule::Cron { expression, zone } => {
                wit::Schedule::Cron(wit::Cron { expression, zone })
            }
        };
        let status = match alarm.next {
            _ if !alarm.on => wit::Status::Off,
            Some(next) => wit::Status::Waits(ms(next)),
            None => wit::Status::Parked(alarm.error.unwrap_or_default()),
        };
        Self { name: alarm.name, schedule, status, attempts: alarm.attempts }
    }
}

impl From<AlarmRefusal> for wit::Error {
    fn from(refusal: AlarmRefusal) -> Self {
        match refusal {
            AlarmRefusal::Invalid(words) => Self::InvalidArgument(words),
            AlarmRefusal::NoHandler => Self::NoHandler,
            AlarmRefusal::TooMany => Self::TooMany(ALARMS_MAX),
            AlarmRefusal::PayloadTooLarge => Self::PayloadTooLarge(ALARM_PAYLOAD_BYTES_MAX),
            AlarmRefusal::Sql(error) => error.into(),
        }
    }
}
