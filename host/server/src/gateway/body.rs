//! Reads request bodies within bounds of size, memory and time.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::reply::Refusal;
use stockade::PlainError;
use stockade::error::{Code, HostError};
use stockade::limits::{DRAIN_BYTES_MAX, DRAIN_MAX, HostLimits};

/// Grain of the memory budget, in bytes: a semaphore counts permits in 32 bits.
const GRAIN_BYTES: usize = 4096;
/// Bytes that each request may hold regardless of the others: 64 KiB, which ordinary calls need.
/// The bound on requests bounds their sum.
const OWN_BYTES: usize = 64 << 10;
/// Bytes of an upload that are held in memory before they are written: 1 MiB.
const SPOOL_BYTES: usize = 1 << 20;

/// The memory that all request bodies share.
pub(super) struct Bodies {
    room: Arc<Semaphore>,
    bytes_max: usize,
    body_bytes_max: usize,
    read_max: Duration,
    rate_min: u64,
}

/// A body in memory, and the room of the values made from it. The room is given back on drop.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    room: Room,
}

/// The part of the shared memory that one body holds.
pub(super) struct Room {
    all: Arc<Semaphore>,
    bytes_max: usize,
    held: Option<OwnedSemaphorePermit>,
    bytes: usize,
    grains: usize,
}

impl Room {
    /// Takes room for this many more bytes.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.bytes = self.bytes.saturating_add(bytes);
        let shared = self.bytes.saturating_sub(OWN_BYTES);
        if shared > self.bytes_max {
            let max = self.bytes_max;
            let words =
                format!("the body takes more than the {max} bytes of memory for all bodies");
            return Err(Refusal::new(Code::PayloadTooLarge, words).closing());
        }
        let needed = shared.div_ceil(GRAIN_BYTES);
        if needed > self.grains {
            let more = self.more(needed - self.grains)?;
            match &mut self.held {
                None => self.held = Some(more),
                Some(held) => held.merge(more),
            }
            self.grains = needed;
        }
        Ok(())
    }

    fn more(&self, grains: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let overloaded = || {
            let max = self.bytes_max;
            let message = format!("request bodies fill their {max} bytes of memory already");
            Refusal::new(Code::HostOverloaded, message).closing()
        };
        u32::try_from(grains)
            .ok()
            .and_then(|grains| Arc::clone(&self.all).try_acquire_many_owned(grains).ok())
            .ok_or_else(overloaded)
    }
}

impl Held {
    #[cfg(test)]
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        let all = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let room = Room { all, bytes_max: usize::MAX, held: None, bytes: 0, grains: 0 };
        Self { bytes: bytes.into(), room }
    }

    /// Takes room for the values made from the body, in addition to the body.
    ///
    /// # Errors
    /// The room is in use, or the values need more than there is in all.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.room.take(bytes)
    }
}

impl Bodies {
    pub(super) fn new(limits: &HostLimits) -> Self {
        let grains = (limits.bodies_bytes_max / GRAIN_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            room: Arc::new(Semaphore::new(grains)),
            bytes_max: limits.bodies_bytes_max,
            body_bytes_max: limits.body_bytes_max,
            read_max: limits.request_read_max,
            rate_min: limits.body_rate_min.max(1),
        }
    }

    /// Refuses a request whose body was not read. A small body is read and dropped, so that the
    /// connection stays usable; a body that its client holds back until the host asks for it never
    /// comes.
    pub(super) async fn refuse(
        &self,
        refusal: Refusal,
        headers: &HeaderMap,
        body: Body,
    ) -> Response {
        let held_back = headers.contains_key(header::EXPECT);
        let goes_on = body.is_end_stream() || (!held_back && drained(body).await);
        if goes_on { refusal } else { refusal.closing() }.into_response()
    }

    /// Room of which nothing is taken yet.
    pub(super) fn room(&self) -> Room {
        let (all, bytes_max) = (Arc::clone(&self.room), self.bytes_max);
        Room { all, bytes_max, held: None, bytes: 0, grains: 0 }
    }

    /// Reads a body whole.
    ///
    /// # Errors
    /// The body is larger than `body_bytes_max`, slower than `body_rate_min` or broken off, or
    /// there is no room for it.
    pub(super) async fn read(&self, mut body: Body) -> Result<Held, Refusal> {
        let begun = Instant::now();
        if body.size_hint().lower() > to_u64(self.body_bytes_max) {
            return Err(self.too_large(body.size_hint().lower()));
        }
        let mut bytes = BytesMut::new();
        let mut room = self.room();
        loop {
            let earned = Duration::from_secs(to_u64(bytes.len()) / self.rate_min);
            let frame = timeout_at(begun + self.read_max + earned, body.frame()).await;
            let frame = match frame {
                Err(_) => return Err(too_slow()),
                Ok(None) => break,
                Ok(Some(Err(_))) => {
                    return Err(broke_off());
                }
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else { continue };
            let len = bytes.len() + data.len();
            if len > self.body_bytes_max {
                return Err(self.too_large(to_u64(len)));
            }
            room.take(data.len())?;
            bytes.extend_from_slice(&data);
        }
        Ok(Held { bytes: bytes.freeze(), room })
    }

    /// Writes a body of any length to a file, with a bounded part of it in memory.
    ///
    /// # Errors
    /// The body is longer than `bytes_max`, slower than `body_rate_min` or broken off, or the file
    /// cannot be written.
    pub(super) async fn spool(
        &self,
        mut body: Body,
        mut file: File,
        bytes_max: u64,
    ) -> Result<(), Refusal> {
        let begun = Instant::now();
        let too_large = |bytes: u64| {
            let error = HostError::Import(PlainError::TooLarge { bytes, max: bytes_max });
            Refusal::from(error).closing()
        };
        if body.size_hint().lower() > bytes_max {
            return Err(too_large(body.size_hint().lower()));
        }
        let (mut len, mut part) = (0_u64, BytesMut::with_capacity(SPOOL_BYTES));
        loop {
            let earned = Duration::from_secs(len / self.rate_min);
            let frame = timeout_at(begun + self.read_max + earned, body.frame()).await;
            let frame = match frame {
                Err(_) => return Err(too_slow()),
                Ok(Some(Err(_))) => {
                    return Err(broke_off());
                }
                Ok(Some(Ok(frame))) => Some(frame),
                Ok(None) => None,
            };
            let ended = frame.is_none();
            if let Some(Ok(data)) = frame.map(hyper::body::Frame::into_data) {
                len += to_u64(data.len());
                if len > bytes_max {
                    return Err(too_large(len));
                }
                part.extend_from_slice(&data);
            }
            if ended || part.len() >= SPOOL_BYTES {
                let full = std::mem::replace(&mut part, BytesMut::with_capacity(SPOOL_BYTES));
                file = write(file, full.freeze()).await?;
            }
            if ended {
                return Ok(());
            }
        }
    }

    fn too_large(&self, bytes: u64) -> Refusal {
        Refusal::new(
            Code::PayloadTooLarge,
            format!("a body of {bytes} bytes or more is over the limit of {}", self.body_bytes_max),
        )
        .closing()
    }
}

/// Reads the rest of a body, if the rest is small and arrives soon. Returns whether that happened.
async fn drained(mut body: Body) -> bool {
    let most = to_u64(DRAIN_BYTES_MAX);
    let end = Instant::now() + DRAIN_MAX;
    if body.size_hint().lower() > most {
        return false;
    }
    let mut read = 0;
    while read <= most {
        match timeout_at(end, body.frame()).await {
            Ok(None) => return true,
            Ok(Some(Ok(frame))) => read += frame.data_ref().map_or(0, |data| to_u64(data.len())),
            Ok(Some(Err(_))) | Err(_) => return false,
        }
    }
    false
}

fn too_slow() -> Refusal {
    Refusal::new(Code::BodyTimeout, "the body came too slowly").closing()
}

fn broke_off() -> Refusal {
    Refusal::new(Code::Malformed, "the body broke off").closing()
}

/// Writes one part, off the runtime's threads.
async fn write(mut file: File, part: Bytes) -> Result<File, Refusal> {
    let written = tokio::task::spawn_blocking(move || file.write_all(&part).map(|()| file)).await;
    let written = written.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    written.map_err(|error| {
        let (verb, path, why) = ("write", "the upload".into(), error.to_string());
        Refusal::from(HostError::Import(PlainError::Unreadable { verb, path, why })).closing()
    })
}

fn to_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies() -> Bodies {
        Bodies::new(&HostLimits {
            body_bytes_max: 400_000,
            bodies_bytes_max: 2 * OWN_BYTES,
            request_read_max: Duration::from_millis(50),
            ..HostLimits::default()
        })
    }

    fn status(read: Result<Held, Refusal>) -> u16 {
        match read {
            Ok(_) => 200,
            Err(refusal) => refusal.into_response().status().as_u16(),
        }
    }

    #[tokio::test]
    async fn bodies_are_bounded_one_by_one_and_together() {
        let bodies = bodies();
        let read = |len: usize| bodies.read(Body::from(vec![0; len]));
        assert_eq!(status(read(400_001).await), 413);
        let Ok(mut first) = read(2 * OWN_BYTES).await else { panic!("there is room") };
        assert_eq!(first.bytes.len(), 2 * OWN_BYTES);
        assert!(first.take(OWN_BYTES / 2).is_ok(), "what is made of it counts as well");
        assert_eq!(status(read(2 * OWN_BYTES).await), 503);
        assert_eq!(status(read(OWN_BYTES).await), 200, "small ones have their own room");
        drop(first);
        assert_eq!(status(read(2 * OWN_BYTES).await), 200);
        assert_eq!(status(read(4 * OWN_BYTES).await), 413, "there will never be room");
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let stuck = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        assert_eq!(status(bodies().read(Body::from_stream(stuck)).await), 408);
    }
}
