//! The sink alone, and in the hands of a worker.

use super::*;
use crate::{
    clock::SystemClock,
    manifest::{OnError, Policy},
    record::Header,
    schemas::Codec,
    stage::{Stage, StageSettings},
    transport::{Assignment, Batch, Incoming, Link, NextOffset, Offset, Outgoing, Partition, Progress, Taken},
    worker::{Ended, Worker, WorkerSettings},
};
use std::{cell::RefCell, collections::VecDeque, io::Read, rc::Rc, time::Duration};

const PARTITION: Partition = Partition { input: 0, number: 0 };

/// Values, from this offset on.
struct Values(u64, Vec<&'static str>);

impl Batch for Values {
    fn len(&self) -> usize {
        self.1.len()
    }

    fn get(&self, index: usize) -> Incoming<'_> {
        let value = Some(self.1[index].as_bytes());
        Incoming { partition: PARTITION, offset: Offset(self.0 + index as u64), timestamp: Some(5), key: None, value }
    }

    fn headers(&self, _: usize) -> Vec<Header> {
        vec![Header { name: "h".into(), value: None }]
    }

    fn ends(&self) -> &[(Partition, NextOffset)] {
        &[]
    }
}

/// What happened, in its order.
type Story = Rc<RefCell<Vec<String>>>;

/// A log with one transaction for each of these batches; then the run ends.
struct Transactions {
    batches: VecDeque<Values>,
    is_open: bool,
    run: Arc<Control>,
    story: Story,
}

impl Link for Transactions {
    type Batch = Values;

    fn take(&mut self, limit: usize, _: Duration) -> Result<Taken<Values>, Fault> {
        match (limit, self.is_open) {
            (0, _) => Ok(Taken::Nothing),
            (_, true) => Ok(Taken::Rebalance),
            (_, false) => {
                let batch = self.batches.pop_front();
                if batch.is_none() {
                    self.run.stop();
                }
                Ok(batch.map_or(Taken::Nothing, Taken::Records))
            }
        }
    }

    fn rebalance(&mut self) -> Result<Assignment, Fault> {
        Ok(Assignment::default())
    }

    fn hold(&mut self, _: Partition) -> Result<(), Fault> {
        Ok(())
    }

    fn release(&mut self, _: Partition, _: NextOffset) -> Result<(), Fault> {
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Fault> {
        self.is_open = true;
        Ok(())
    }

    fn send(&mut self, _: &Outgoing<'_>, _: Option<(&Values, usize)>) -> Result<(), Fault> {
        Err(Fault::Fatal("a sink sends nothing".into()))
    }

    fn commit(&mut self, progress: &Progress) -> Result<(), Fault> {
        self.is_open = false;
        self.story.borrow_mut().push(format!("commit {}", progress.get(PARTITION).unwrap()));
        Ok(())
    }

    fn recover(&mut self) -> Result<Assignment, Fault> {
        Ok(Assignment::default())
    }

    fn close(self) {}
}

/// Notes what is printed; fails as it is told.
struct Printed(Story, Option<ErrorKind>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(kind) = self.1 {
            return Err(kind.into());
        }
        self.0.borrow_mut().push(String::from_utf8(bytes.to_vec()).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A worker that prints each of these batches in a transaction of its own: how it ends.
fn run<W: Write + 'static>(to: W, batches: &[&[&'static str]], story: &Story) -> (Ended, Arc<Control>) {
    let run = Arc::new(Control::default());
    let inputs = vec!["t".to_owned()];
    let mut offset = 0;
    let batches = batches.iter().map(|values| {
        offset += values.len() as u64;
        Values(offset - values.len() as u64, values.to_vec())
    });
    let (batches, control) = (batches.collect(), run.part());
    let link = Transactions { batches, is_open: false, run: run.clone(), story: story.clone() };
    let settings = StageSettings {
        pipeline: "p".into(),
        stage: "show".into(),
        module: String::new(),
        inputs: inputs.clone(),
        outputs: Vec::new(),
        on_error: OnError::all(Policy::Stop),
        provenance: false,
        codec: Codec::default(),
    };
    let clock = Rc::new(SystemClock::new(control.clone()));
    let sink = Stdout::to(to, OutputFormat::Value, inputs, run.clone());
    let stage = Stage::new(Arc::new(settings), Box::new(sink), clock.clone(), Arc::default());
    let settings =
        WorkerSettings { name: "show".into(), number: 0, commit_interval: Duration::from_secs(3600), control };
    (Worker::new(link, stage, clock, settings).run(), run)
}

#[test]
fn what_is_committed_was_printed() {
    let story = Story::default();
    let (ended, _) = run(Printed(story.clone(), None), &[&["a", "b"], &["c"]], &story);
    assert_eq!(ended, Ended::Orderly);
    assert_eq!(*story.borrow(), ["a\nb\n", "commit 2", "c\n", "commit 3"]);
}

#[test]
fn a_reader_that_leaves_ends_the_run_and_nothing_more_is_committed() {
    let story = Story::default();
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let (ended, control) = run(writer, &[&["a"], &["b"]], &story);
    assert_eq!((ended, control.stopping()), (Ended::Orderly, true));
    assert!(story.borrow().is_empty(), "{story:?}");
}

#[test]
fn a_reader_of_one_line_gets_it_whole() {
    /// Reads one line when something was committed, and leaves.
    struct Head(Option<io::PipeReader>, io::PipeWriter, Story);

    impl Write for Head {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.2.borrow().is_empty()
                && let Some(mut reader) = self.0.take()
            {
                let mut line = [0; 2];
                reader.read_exact(&mut line).unwrap();
                self.2.borrow_mut().push(String::from_utf8(line.to_vec()).unwrap());
                drop(reader);
                // A process that another test starts right now has the pipe as well, for a moment.
                std::thread::sleep(Duration::from_millis(300));
            }
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.1.flush()
        }
    }

    let story = Story::default();
    let (reader, writer) = io::pipe().unwrap();
    let (ended, _) = run(Head(Some(reader), writer, story.clone()), &[&["a"], &["b"], &["c"]], &story);
    assert_eq!(ended, Ended::Orderly);
    assert_eq!(*story.borrow(), ["commit 1", "a\n"]);
}

#[test]
fn a_reader_who_does_not_read_holds_back_the_run_but_not_its_end() {
    let (mut reader, writer) = io::pipe().unwrap();
    let run = Arc::new(Control::default());
    let to = Patient::new(writer, run.clone());
    let mut sink = Stdout::to(to, OutputFormat::Value, vec!["t".into()], run.clone());
    take(&mut sink, &["a"]);
    sink.settle().unwrap();
    let stopping = std::thread::spawn({
        let run = run.clone();
        move || {
            std::thread::sleep(Duration::from_millis(100));
            run.stop();
        }
    });
    // More than a pipe holds.
    take(&mut sink, &["b"; 100_000]);
    assert!(run.stopping(), "it did not wait for its reader");
    assert!(matches!(sink.settle(), Err(Fault::Unwanted(_))));
    stopping.join().unwrap();
    // Not even when more is asked of it.
    take(&mut sink, &["c"]);
    assert!(matches!(sink.settle(), Err(Fault::Unwanted(_))));
    let mut line = [0; 4];
    reader.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"a\nb\n");
}

#[test]
fn what_cannot_be_printed_stops_the_sink() {
    let story = Story::default();
    let (ended, control) = run(Printed(story.clone(), Some(ErrorKind::StorageFull)), &[&["a"], &["b"]], &story);
    assert_eq!(ended, Ended::Failed("stdout takes no more: no storage space".into()));
    assert!(!control.stopping() && story.borrow().is_empty(), "{story:?}");
}

/// Hands over records one by one.
fn take<W: Write>(sink: &mut Stdout<W>, values: &[&'static str]) {
    let batch = Rc::new(Values(7, values.to_vec()));
    for index in 0..batch.len() {
        let in_hand = InHand { record: batch.get(index), batch: batch.clone(), index, attempt: 1 };
        assert!(sink.transform(in_hand).unwrap().is_empty());
    }
}

fn sink(story: &Story, format: OutputFormat) -> Stdout<Printed> {
    Stdout::to(Printed(story.clone(), None), format, vec!["t".into()], Arc::default())
}

#[test]
fn lines_are_never_torn() {
    let story = Story::default();
    let mut sink = sink(&story, OutputFormat::Value);
    take(&mut sink, &["line\nof two"; 20_000]);
    assert!(story.borrow().len() > 2, "not all is held back");
    sink.settle().unwrap();
    assert!(story.borrow().iter().all(|text| text.ends_with("\nof two\n")));
    assert_eq!(story.borrow().concat(), "line\nof two\n".repeat(20_000));
}

#[test]
fn what_was_held_back_is_void_when_it_comes_again() {
    let story = Story::default();
    let mut sink = sink(&story, OutputFormat::Value);
    take(&mut sink, &["a", "b"]);
    sink.withdraw();
    take(&mut sink, &["a"]);
    sink.settle().unwrap();
    sink.settle().unwrap();
    assert_eq!(*story.borrow(), ["a\n"]);
}

#[test]
fn json_says_all_of_a_record() {
    let story = Story::default();
    let mut sink = sink(&story, OutputFormat::Json);
    take(&mut sink, &["v"]);
    sink.settle().unwrap();
    let line = r#"{"topic":"t","partition":0,"offset":7,"timestamp":5,"key":null,"value":"v","headers":[["h",null]]}"#;
    assert_eq!(*story.borrow(), [format!("{line}\n")]);
}
