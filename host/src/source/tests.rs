//! What is made of a module's answers, and when it is asked again.

use super::{
    Answer, Source, SourceSettings, SourceState,
    poller::{PollFailed, Poller},
};
use crate::{
    clock::Clock,
    record::{HeaderEdit, Later, Polled, Reason, Record},
    schemas::Codec,
    stage::{Output, Retry},
    wasm::fixture::lines,
};
use std::{cell::Cell, collections::VecDeque, rc::Rc, sync::Arc, time::Duration};

/// Time that passes when a test says so.
struct Manual(Cell<Duration>);

impl Clock for Manual {
    fn now(&self) -> Duration {
        self.0.get()
    }

    fn wall_ms(&self) -> i64 {
        1_700_000_000_000
    }

    fn wait(&self, time: Duration) {
        self.0.set(self.0.get() + time);
    }
}

/// A module whose answers are known beforehand; each takes its time.
struct Scripted(VecDeque<Result<Polled, PollFailed>>, Rc<Manual>);

impl Poller for Scripted {
    fn poll(&mut self, _: Option<&[u8]>) -> Result<Polled, PollFailed> {
        self.1.wait(ms(3));
        self.0.pop_front().expect("an answer")
    }
}

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

fn source(answers: impl Into<VecDeque<Result<Polled, PollFailed>>>) -> (Source, Rc<Manual>, Arc<SourceState>) {
    let output = |name: &str, partitions, compacted| Output {
        name: name.into(),
        topic: name.into(),
        partitions,
        largest: 2000,
        compacted,
        ahead: None,
        keeps: None,
    };
    let settings = SourceSettings {
        source: "numbers".into(),
        outputs: vec![output("main", 2, false), output("position", 1, true)],
        forgets: false,
        progress_every: 5,
        every: ms(50),
        retry: Retry::default(),
        codec: Codec::default(),
    };
    let (clock, state) = (Rc::new(Manual(Cell::new(ms(1000)))), Arc::<SourceState>::default());
    let poller = Box::new(Scripted(answers.into(), clock.clone()));
    (Source::new(Arc::new(settings), poller, clock.clone(), state.clone()), clock, state)
}

fn polled(values: &[&str], position: &str) -> Polled {
    let record = |value: &&str| Record {
        key: None,
        value: Some(value.as_bytes().to_vec()),
        headers: HeaderEdit::Keep,
        output: None,
        partition: None,
        timestamp: None,
    };
    let position = (!position.is_empty()).then(|| position.as_bytes().to_vec());
    Polled { records: values.iter().map(record).collect(), position, done: false }
}

fn reason() -> Reason {
    Reason { code: Some("busy".into()), message: "come back".into() }
}

/// An answer in a word or two.
fn show(answer: Answer) -> String {
    match answer {
        Answer::Batch(batch) => {
            let (count, last) = (batch.records(), batch.is_last());
            let position = batch.into_position().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            format!("{count} @{}{}", position.as_deref().unwrap_or("none"), if last { " done" } else { "" })
        }
        Answer::Nothing => "nothing".into(),
        Answer::Done => "done".into(),
        Answer::Stop(why) => why,
    }
}

#[test]
fn the_pace_is_measured_from_the_beginning_of_a_poll() {
    let (mut source, ..) = source([Ok(polled(&["a"], "1"))]);
    assert_eq!(show(source.poll(None)), "1 @1");
    assert_eq!(source.due(), ms(1050));
}

#[test]
fn a_pace_that_was_lost_is_not_made_up_for() {
    let (mut source, clock, _) = source([Ok(polled(&["a"], "1")), Ok(polled(&["b"], "2"))]);
    source.poll(None);
    clock.wait(ms(1000));
    source.poll(Some(b"1"));
    assert_eq!(source.due(), ms(2003 + 50));
}

#[test]
fn what_was_not_committed_is_polled_again_and_what_failed_waits() {
    let later = Err(PollFailed::Retry(Later { reason: reason(), after_ms: Some(7_000) }));
    let (mut source, clock, _) = source([Ok(polled(&["a"], "1")), later]);
    source.poll(None);
    source.poll_again();
    assert!(source.due() <= clock.now());
    source.poll(None);
    let due = source.due();
    source.poll_again();
    assert_eq!(source.due(), due);
}

#[test]
fn a_position_that_stays_is_nothing_new() {
    let (mut source, ..) = source([
        Ok(polled(&[], "1")),
        Ok(polled(&[], "")),
        Ok(polled(&["a"], "1")),
        Ok(polled(&[], "2")),
        Ok(Polled { done: true, ..polled(&[], "1") }),
        Ok(Polled { done: true, ..polled(&["b"], "2") }),
    ]);
    let said: Vec<_> = (0..6).map(|_| show(source.poll(Some(b"1")))).collect();
    assert_eq!(said, ["nothing", "nothing", "1 @none", "0 @2", "done", "1 @2 done"]);
}

#[test]
fn a_failed_poll_is_tried_again_after_growing_delays() {
    let later = |after_ms| Err(PollFailed::Retry(Later { reason: reason(), after_ms }));
    let trap = || Err(PollFailed::Fault(reason()));
    let (mut source, clock, state) = source([
        later(None),
        trap(),
        later(Some(3_600_000)),
        later(Some(u64::MAX)),
        later(Some(0)),
        Ok(polled(&["a"], "1")),
        later(None),
    ]);
    let mut delays = || {
        let said = show(source.poll(None));
        (said, source.due().saturating_sub(clock.now()))
    };
    let mut check = |expected: &str, from: u64, to: u64| {
        let (said, delay) = delays();
        assert_eq!(said, expected);
        assert!((ms(from)..=ms(to)).contains(&delay), "{delay:?}");
    };
    check("nothing", 80, 100);
    check("nothing", 160, 200);
    check("nothing", 3_600_000, 3_600_000);
    check("nothing", 86_400_000, 86_400_000);
    check("nothing", 10, 10);
    check("1 @1", 47, 47);
    check("nothing", 80, 100);
    assert_eq!(state.counts().failures, 6);
}

#[test]
fn one_that_fails_now_and_then_says_so_ever_more_seldom() {
    let failed = || Err(PollFailed::Fault(reason()));
    let answers: VecDeque<_> = (0..300).flat_map(|_| [failed(), Ok(polled(&["a"], "1"))]).collect();
    let (mut source, clock, _) = source(answers);
    let (_, lines) = lines(|| {
        for _ in 0..600 {
            source.poll(None);
            clock.wait(source.due().saturating_sub(clock.now()));
        }
    });
    // At once, and after about 10 and 30 of 45 seconds.
    let said = lines.iter().filter(|line| line.starts_with("WARN"));
    assert_eq!((said.count(), lines.iter().filter(|line| line.starts_with("INFO")).count()), (3, 3), "{lines:?}");
}

#[test]
fn what_the_log_would_refuse_stops_it() {
    let record = |change: &dyn Fn(&mut Record)| {
        let mut polled = polled(&["a", "b"], "1");
        change(&mut polled.records[1]);
        Ok(polled)
    };
    let (mut source, ..) = source([
        record(&|record| record.value = Some(vec![b'x'; 2000])),
        record(&|record| record.partition = Some(2)),
        record(&|record| record.output = Some("large".into())),
        record(&|record| record.output = Some("position".into())),
        Ok(polled(&[], &"9".repeat(1500))),
        Err(PollFailed::Stop(reason())),
    ]);
    let said: Vec<_> = (0..6).map(|_| show(source.poll(None))).collect();
    assert_eq!(
        said,
        [
            "record 2 of the 2 of a poll: too-large: main takes records of 2000 bytes, this one has 2096",
            "record 2 of the 2 of a poll: unknown-partition: main has no partition 2, it has 2",
            "record 2 of the 2 of a poll: unknown-output: no output is named `large`: known are `main`",
            "record 2 of the 2 of a poll: unknown-output: no output is named `position`: known are `main`",
            "position takes records of 2000 bytes, a position has 1500",
            "busy: come back",
        ]
    );
}
