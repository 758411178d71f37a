//! Sources that are broken on purpose, each in one way that somebody could have written.

use super::sources::POSITIONS;
use crate::{
    record::Header,
    transport::{Assignment, Batch, Fault, Incoming, Link, NextOffset, Outgoing, Partition, Progress, Taken},
};
use std::time::Duration;

/// What a mutant does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SourceMutant {
    /// The position is committed after the records, in a transaction of its own.
    PositionOutside,
    /// The position is read before this is the only writer, and not again.
    ReadBeforeFencing,
    /// After a fault it goes on where it thought it was.
    PositionRemembered,
    /// Each host writes under a name of its own, so that nobody is fenced.
    OwnName,
    /// The group's progress is put behind the last position, where the next one does not see it.
    ProgressBehind,
}

impl SourceMutant {
    /// Every mutant.
    pub(super) const ALL: [SourceMutant; 5] = [
        SourceMutant::PositionOutside,
        SourceMutant::ReadBeforeFencing,
        SourceMutant::PositionRemembered,
        SourceMutant::OwnName,
        SourceMutant::ProgressBehind,
    ];
}

/// A link that does one thing wrong.
pub(super) struct Broken<L> {
    link: L,
    mutant: SourceMutant,
    /// The position that was sent last.
    position: Option<(Vec<u8>, Vec<u8>)>,
    withheld: bool,
    /// What is read of the position is not believed.
    stubborn: bool,
}

impl<L: Link> Broken<L> {
    pub(super) fn new(link: L, mutant: SourceMutant) -> Broken<L> {
        Broken { link, mutant, position: None, withheld: false, stubborn: false }
    }

    fn is(&self, mutant: SourceMutant) -> bool {
        self.mutant == mutant
    }
}

impl<L: Link> Link for Broken<L> {
    type Batch = Believed<L::Batch>;

    fn take(&mut self, limit: usize, wait: Duration) -> Result<Taken<Self::Batch>, Fault> {
        Ok(match self.link.take(limit, wait)? {
            Taken::Records(batch) => {
                let position = self.position.as_ref().filter(|_| self.stubborn);
                Taken::Records(Believed { batch, value: position.map(|(_, value)| value.clone()) })
            }
            Taken::Nothing => Taken::Nothing,
            Taken::Rebalance => Taken::Rebalance,
        })
    }

    fn rebalance(&mut self) -> Result<Assignment, Fault> {
        self.stubborn = false;
        self.link.rebalance()
    }

    fn hold(&mut self, partition: Partition) -> Result<(), Fault> {
        self.link.hold(partition)
    }

    fn release(&mut self, partition: Partition, from: NextOffset) -> Result<(), Fault> {
        self.link.release(partition, from)
    }

    fn begin(&mut self) -> Result<(), Fault> {
        self.link.begin()
    }

    fn send(&mut self, record: &Outgoing<'_>, _: Option<(&Self::Batch, usize)>) -> Result<(), Fault> {
        if record.output == POSITIONS {
            let bytes = |bytes: Option<&[u8]>| bytes.unwrap_or_default().to_vec();
            self.position = Some((bytes(record.key), bytes(record.value)));
            if self.is(SourceMutant::PositionOutside) {
                self.withheld = true;
                return Ok(());
            }
        }
        self.link.send(record, None)
    }

    fn commit(&mut self, progress: &Progress) -> Result<(), Fault> {
        if self.is(SourceMutant::ProgressBehind) {
            let behind = |(partition, next): (_, NextOffset)| (partition, NextOffset(next.0 + 1));
            return self.link.commit(&progress.iter().map(behind).collect());
        }
        self.link.commit(progress)?;
        if std::mem::take(&mut self.withheld)
            && let Some((key, value)) = &self.position
        {
            self.link.begin()?;
            let position = Outgoing {
                output: POSITIONS,
                partition: Some(0),
                key: Some(key),
                value: Some(value),
                timestamp: None,
                keep_headers: false,
                headers: &[],
            };
            self.link.send(&position, None)?;
            self.link.commit(&Progress::default())?;
        }
        Ok(())
    }

    fn recover(&mut self) -> Result<Assignment, Fault> {
        self.withheld = false;
        self.stubborn = self.is(SourceMutant::PositionRemembered);
        self.link.recover()
    }

    fn close(self) {
        self.link.close();
    }
}

/// A batch, or what is believed in its place.
pub(super) struct Believed<B> {
    batch: B,
    value: Option<Vec<u8>>,
}

impl<B: Batch> Batch for Believed<B> {
    fn len(&self) -> usize {
        self.batch.len()
    }

    fn get(&self, index: usize) -> Incoming<'_> {
        let record = self.batch.get(index);
        Incoming { value: self.value.as_deref().or(record.value), ..record }
    }

    fn headers(&self, index: usize) -> Vec<Header> {
        self.batch.headers(index)
    }

    fn ends(&self) -> &[(Partition, NextOffset)] {
        self.batch.ends()
    }
}
