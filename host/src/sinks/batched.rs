//! A guest that collects records, and hands them over together when it is settled.

use crate::{
    record::Record,
    stage::guest::{Failed, Guest, InHand, Returned},
    transport::{Batch, Fault},
};
use std::{cell::RefCell, rc::Rc};

/// How many records are collected at most, and from how many bytes of them on it is enough: they are kept until the batch
/// is in, also those that are wrong.
const MOST_RECORDS: usize = 10_000;
const MOST_BYTES: usize = 16 << 20;

/// Where records go in batches.
pub trait Target {
    /// Finds where it writes to, before there is a record; once that is done, it is.
    fn prepare(&mut self) -> Result<(), Fault> {
        Ok(())
    }
    /// Takes a record into the batch; false when there is nothing to be done for it. A record that is seen to be wrong
    /// is refused at once.
    fn take(&mut self, record: &InHand<'_>) -> Result<bool, Failed>;
    /// Hands the batch over. What comes back are the places of those in it that are wrong, in their order: all others
    /// are in.
    fn put(&mut self) -> Result<Vec<(usize, Failed)>, Fault>;
    /// Forgets the batch, and whatever was handed over and is not yet there for good.
    fn withdraw(&mut self);
    /// True when the batch is as large as it may be.
    fn is_full(&self) -> bool;
}

/// A sink's guest.
pub struct Batched<T> {
    target: Rc<RefCell<T>>,
    taken: Vec<Taken>,
    bytes: usize,
    /// How many records came since they were handed over last, those included for which there was nothing to be done.
    count: u64,
}

/// A record that was taken.
struct Taken {
    batch: Rc<dyn Batch>,
    index: usize,
    attempt: u32,
    /// How many came in front of it.
    before: u64,
    /// Why it is not in the target's batch. It is given back with those that the target refuses, so that what fails keeps
    /// its order.
    failed: Option<Failed>,
}

impl<T: Target> Batched<T> {
    /// A guest that hands its records over there.
    pub fn new(target: Rc<RefCell<T>>) -> Batched<T> {
        Batched { target, taken: Vec::new(), bytes: 0, count: 0 }
    }
}

impl<T: Target> Guest for Batched<T> {
    fn transform(&mut self, record: InHand<'_>) -> Result<Vec<Record>, Failed> {
        let before = self.count;
        self.count += 1;
        let failed = match self.target.borrow_mut().take(&record) {
            Ok(true) => None,
            Ok(false) => return Ok(Vec::new()),
            Err(failed) => Some(failed),
        };
        let InHand { record, batch, index, attempt } = record;
        self.bytes += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        self.taken.push(Taken { batch, index, attempt, before, failed });
        Ok(Vec::new())
    }

    fn prepare(&mut self) -> Result<(), Fault> {
        self.target.borrow_mut().prepare()
    }

    fn settle(&mut self) -> Result<Vec<Returned>, Fault> {
        let mut wrong = self.target.borrow_mut().put()?.into_iter().peekable();
        let (mut place, mut returned) = (0, Vec::new());
        let count = std::mem::take(&mut self.count);
        self.bytes = 0;
        for Taken { batch, index, attempt, before, failed } in self.taken.drain(..) {
            let failed = failed.or_else(|| {
                place += 1;
                wrong.next_if(|(wrong, _)| wrong + 1 == place).map(|(_, failed)| failed)
            });
            let behind = count - before - 1;
            returned.extend(failed.map(|failed| Returned { batch, index, attempt, behind, failed }));
        }
        Ok(returned)
    }

    fn is_full(&self) -> bool {
        self.taken.len() >= MOST_RECORDS || self.bytes >= MOST_BYTES || self.target.borrow().is_full()
    }

    fn withdraw(&mut self) {
        self.taken.clear();
        (self.bytes, self.count) = (0, 0);
        self.target.borrow_mut().withdraw();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        lines::{Entries, Entry, Given},
        sinks::reject,
    };

    /// It refuses what says so, at once or when it is put.
    #[derive(Default)]
    struct Picky(Vec<String>);

    impl Target for Picky {
        fn take(&mut self, record: &InHand<'_>) -> Result<bool, Failed> {
            match std::str::from_utf8(record.record.value.unwrap()).unwrap() {
                "wrong" => Err(reject("at-once", "")),
                "skip" => Ok(false),
                text => {
                    self.0.push(text.to_owned());
                    Ok(true)
                }
            }
        }

        fn put(&mut self) -> Result<Vec<(usize, Failed)>, Fault> {
            let batch = std::mem::take(&mut self.0).into_iter().enumerate();
            let is_refused = |(_, text): &(usize, String)| text == "refused";
            Ok(batch.filter(is_refused).map(|(place, _)| (place, reject("put", ""))).collect())
        }

        fn withdraw(&mut self) {
            self.0.clear();
        }

        fn is_full(&self) -> bool {
            false
        }
    }

    #[test]
    fn what_fails_comes_back_in_its_order() {
        let values = ["good", "refused", "skip", "wrong", "refused", "good", "wrong"];
        let given = |value: &str| Given {
            input: 0,
            entry: Entry { value: Some(value.as_bytes().to_vec()), ..Entry::default() },
        };
        let batch: Rc<dyn Batch> = Rc::new(Entries::new(values.iter().map(|value| given(value)).collect()));
        let mut guest = Batched::new(Rc::new(RefCell::new(Picky::default())));
        for index in 0..values.len() {
            let record = InHand { record: batch.get(index), batch: batch.clone(), index, attempt: 1 };
            assert!(guest.transform(record).unwrap().is_empty());
        }
        let code =
            |returned: &Returned| (returned.index, returned.behind, returned.failed.reason().code.clone().unwrap());
        let returned: Vec<_> = guest.settle().unwrap().iter().map(code).collect();
        let due = [(1, 5, "put"), (3, 3, "at-once"), (4, 2, "put"), (6, 0, "at-once")];
        assert_eq!(returned, due.map(|(index, behind, code)| (index, behind, code.to_owned())));
        assert!(guest.settle().unwrap().is_empty());
    }
}
