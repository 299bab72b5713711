//! Records the steps of endings in the order in which a host does them, and between them the seals
//! that its store was asked for: the host reports its steps, the store reports the seals that
//! reached it.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use stockade::ActorId;
use stockade::host::{EndStep, Observer, ShutdownStep};
use stockade_depot::Generation;
use stockade_testkit::faulty_store::{FaultyStore, Step};

/// How long a test waits for a step.
const PATIENCE: Duration = Duration::from_secs(30);

/// One recorded event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A step of a generation's end.
    Ending(ActorId, Generation, EndStep),
    /// The store was asked to seal a database.
    StoreSeal,
    /// A step of the host's shutdown.
    Shutdown(ShutdownStep),
}

/// The recorder.
#[derive(Default)]
pub struct Recorder {
    events: Mutex<Vec<Event>>,
    store: OnceLock<Arc<FaultyStore>>,
}

impl Recorder {
    /// A recorder without events.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Records the seals of this store, too.
    pub fn watch(&self, store: &Arc<FaultyStore>) {
        assert!(self.store.set(Arc::clone(store)).is_ok(), "one recorder for one host");
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().clone()
    }

    /// The steps of this actor's end, with seals of the store between them, as words.
    pub fn of(&self, actor: &ActorId) -> Vec<String> {
        let word = |event: &Event| match event {
            Event::Ending(of, _, step) if of == actor => Some(format!("{step:?}")),
            Event::StoreSeal => Some("StoreSeal".to_owned()),
            Event::Ending(..) | Event::Shutdown(_) => None,
        };
        self.events.lock().iter().filter_map(word).collect()
    }

    /// How often a step was recorded, for all actors together.
    pub fn count(&self, step: EndStep) -> usize {
        let of_step = |event: &&Event| matches!(event, Event::Ending(_, _, s) if *s == step);
        self.events.lock().iter().filter(of_step).count()
    }

    /// Waits until a step was recorded this many times.
    pub async fn seen(&self, step: EndStep, times: usize) {
        let begun = Instant::now();
        while self.count(step) < times {
            let seen = self.count(step);
            assert!(begun.elapsed() < PATIENCE, "{step:?}: {seen} of {times}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn note(&self, event: Event) {
        let mut events = self.events.lock();
        if let Some(store) = self.store.get() {
            let noted = events.iter().filter(|event| **event == Event::StoreSeal).count();
            let asked = usize::try_from(store.calls(Step::Seal)).unwrap();
            events.extend(std::iter::repeat_n(Event::StoreSeal, asked.saturating_sub(noted)));
        }
        events.push(event);
    }
}

impl Observer for Recorder {
    fn ending(&self, actor: &ActorId, generation: Generation, step: EndStep) {
        self.note(Event::Ending(actor.clone(), generation, step));
    }

    fn shutdown(&self, step: ShutdownStep) {
        self.note(Event::Shutdown(step));
    }
}
