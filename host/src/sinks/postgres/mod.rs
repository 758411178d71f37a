//! The sink into PostgreSQL: records are rows of a table, and how far the sink is stands in a table beside it. Both change
//! in one transaction, so each record counts exactly once there.
//!
//! The transaction begins with a lock on the sink's progress in the partitions that the batch is of. So whoever holds it has
//! the right to write, and what the database refuses then is a record's own failure, not the trace of somebody else who
//! wrote it before.

mod change;
mod server;
mod session;
mod table;
mod verdict;

pub use server::Server;
pub use table::TableName;

use super::{
    Mode, OnTombstone, Place,
    batched::Target,
    ledger::{Ledger, Step},
};
use crate::{
    stage::guest::{Failed, InHand},
    transport::{Births, Fault, NextOffset, Partition, Progress},
    worker::control::Control,
};
use change::Change;
use session::Session;
use std::{
    collections::BTreeSet,
    iter,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};
use table::Table;

/// How many bytes a batch may hold.
const MOST_BYTES: usize = 8 << 20;
/// Between two looks at what the table is like, where a record has a field that it does not know.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What the manifest says of the sink.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the server is, and how to get in.
    pub server: Server,
    /// The table.
    pub table: TableName,
    /// Its columns, each with what goes there. `None`: each field of the value goes to the column of its name.
    pub columns: Option<Vec<(String, Place)>>,
    /// Whether rows are added or replaced.
    pub mode: Mode,
    /// The columns that tell rows apart.
    pub key: Vec<String>,
    /// What becomes of a record without a value.
    pub on_tombstone: OnTombstone,
    /// The columns that the table is made with when it is missing, each with its type.
    pub create: Option<Vec<(String, String)>>,
}

/// Who a sink is in the database.
#[derive(Clone, Debug)]
pub struct Who {
    /// The pipeline and the sink, as the server lists its clients.
    pub name: String,
    /// Its group, by which its progress is found.
    pub group: String,
    /// The topics that it reads, in the order that `Partition::input` counts.
    pub inputs: Vec<String>,
    /// Those that its records came from: others, where they were dead letters since.
    pub origins: Vec<String>,
}

/// One worker's connection to the database, and its batch.
pub struct Postgres {
    settings: Arc<Settings>,
    who: Who,
    session: Session,
    /// What the table is like, since it was looked at.
    table: Option<(Table, Instant)>,
    batch: Vec<Change>,
    bytes: usize,
    /// How far the sink is, as the database has it.
    at: Progress,
}

impl Postgres {
    /// A connection that is not made yet.
    pub fn new(settings: Arc<Settings>, who: Who, control: Arc<Control>) -> Result<Postgres, String> {
        let session = Session::new(&settings, &who, control)?;
        Ok(Postgres { settings, who, session, table: None, batch: Vec::new(), bytes: 0, at: Progress::default() })
    }

    /// Begins a transaction in which nobody else takes a step in these partitions, and in which nobody has since.
    fn begin(&mut self, partitions: &BTreeSet<Partition>) -> Result<(), Fault> {
        self.session.begin()?;
        let found = self.session.lock(&self.who, partitions)?;
        for partition in partitions {
            if found.get(*partition) != self.at.get(*partition) {
                return Err(overtaken(self.place(*partition), found.get(*partition)));
            }
        }
        Ok(())
    }

    /// Puts the batch into the open transaction. Where something of it is refused, the halves are tried one after the other,
    /// until the record is found.
    fn put_all(&mut self, batch: &[Change]) -> Result<Vec<(usize, Failed)>, Fault> {
        let (table, _) = self.table.as_ref().ok_or_else(|| Fault::Aborted("the table is not known".into()))?;
        let (mut wrong, mut has_looked) = (Vec::new(), false);
        let mut left: Vec<Range<usize>> = iter::once(0..batch.len()).collect();
        while let Some(range) = left.pop() {
            self.session.mark()?;
            let refused = change::statements(&batch[range.clone()], table, &self.settings)
                .into_iter()
                .find_map(|(statement, rows)| self.session.write(&statement, &rows).transpose())
                .transpose()?;
            match refused {
                None => self.session.keep()?,
                Some(failed) => {
                    self.session.take_back()?;
                    let middle = range.start + range.len() / 2;
                    match range.len() {
                        1 => {
                            // What a column takes may be another thing since it was looked at.
                            if change::may_not_fit(&failed) && !std::mem::replace(&mut has_looked, true) {
                                let columns = self.session.columns(&self.settings.table)?;
                                if !table.has(&columns) {
                                    self.table = None;
                                    return Err(Fault::Aborted("the columns of its table have changed".into()));
                                }
                            }
                            wrong.push((range.start, failed));
                        }
                        _ => left.extend([middle..range.end, range.start..middle]),
                    }
                }
            }
        }
        Ok(wrong)
    }

    /// Looks at what the table is like, and makes it where it is to be made.
    fn look_at_table(&mut self) -> Result<(), Fault> {
        let Settings { table: name, create, key, .. } = &*self.settings;
        let mut columns = self.session.columns(name)?;
        if columns.is_empty()
            && let Some(create) = create
        {
            self.session.make(&name.to_string(), &table::create(name, create, key))?;
            tracing::info!("{}: made the table {name}", self.who.name);
            columns = self.session.columns(name)?;
        }
        let table = Table::new(name, columns);
        table.check(&self.settings).map_err(Fault::Forbidden)?;
        self.table = Some((table, Instant::now()));
        Ok(())
    }

    /// Records may have fields that the table did not have when it was looked at.
    fn look_again(&mut self) {
        let Some((known, since)) = self.table.take() else { return };
        if since.elapsed() <= LOOK_EVERY {
            self.table = Some((known, since));
            return;
        }
        match self.look_at_table() {
            // What is in the batch goes by the places of its columns.
            Ok(()) if !self.batch.is_empty() && !self.table.as_ref().is_some_and(|(now, _)| now.goes_on(&known)) => {
                self.table = None;
            }
            Ok(()) => {}
            Err(fault) => {
                // The batch's own transaction meets it as well, and says so.
                tracing::debug!("{}: {fault}", self.who.name);
                self.table = Some((known, since));
            }
        }
    }

    fn place(&self, Partition { input, number }: Partition) -> String {
        format!("{}/{number}", self.who.inputs[input])
    }
}

fn overtaken(place: String, found: Option<NextOffset>) -> Fault {
    let at = found.map_or_else(|| "nowhere".to_owned(), |next| next.to_string());
    Fault::Aborted(format!("another one is at work for this sink: in {place} it is at {at} by now"))
}

impl Target for Postgres {
    fn take(&mut self, record: &InHand<'_>) -> Result<bool, Failed> {
        let make = |postgres: &Postgres| match &postgres.table {
            Some((table, _)) => change::of(record, table, &postgres.settings, &postgres.who.origins),
            None => Err(super::reject("no-table", "what the table is like is not known")),
        };
        let change = match make(self) {
            Err(failed) if change::is_unknown_column(&failed) => {
                self.look_again();
                make(self)?
            }
            change => change?,
        };
        let Some(change) = change else { return Ok(false) };
        self.bytes += change.size();
        self.batch.push(change);
        Ok(true)
    }

    fn put(&mut self) -> Result<Vec<(usize, Failed)>, Fault> {
        if self.batch.is_empty() {
            return Ok(Vec::new());
        }
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        self.begin(&batch.iter().map(|change| change.partition).collect())?;
        self.put_all(&batch)
    }

    fn withdraw(&mut self) {
        self.batch.clear();
        self.bytes = 0;
        self.session.abandon();
    }

    fn is_full(&self) -> bool {
        self.bytes >= MOST_BYTES
    }
}

impl Ledger for Postgres {
    fn connect(&mut self) -> Result<(), Fault> {
        self.session.abandon();
        if self.session.connect()? || self.table.is_none() {
            self.look_at_table()?;
            let progress = self.settings.table.progress();
            let columns = self.session.columns(&progress)?;
            if !columns.iter().any(|column| column.name == "birth") {
                self.session.make(&progress.to_string(), &table::create_progress(&progress))?;
            }
        }
        Ok(())
    }

    fn claim(&mut self, starts: &Progress, births: &Births) -> Result<Progress, Fault> {
        self.connect()?;
        self.session.begin()?;
        self.session.note_starts(&self.who, starts, births)?;
        let partitions = starts.iter().map(|(partition, _)| partition).collect();
        self.at = self.session.lock(&self.who, &partitions)?;
        let mut begun = Progress::default();
        for partition in self.session.adopt(&self.who, starts, births)? {
            if let (Some(start), Some(was)) = (starts.get(partition), self.at.get(partition)) {
                tracing::warn!(
                    "{}: {} is not the one of which the database has {was}: it begins at {start}",
                    self.who.name,
                    self.place(partition)
                );
                begun.reach(partition, start);
            }
        }
        self.at.replace(&begun);
        self.session.commit()?;
        for (partition, start) in starts.iter() {
            let known = self.at.get(partition);
            if known != Some(start) {
                let (place, known) = (self.place(partition), known.map_or(0, |next| next.0));
                tracing::info!(
                    "{}: {place} goes on at {known}, as the database has it; the group has {start}",
                    self.who.name
                );
            }
        }
        Ok(self.at.clone())
    }

    fn commit(&mut self, steps: &[Step]) -> Result<(), Fault> {
        if !self.session.is_open() {
            if steps.is_empty() {
                return Ok(());
            }
            self.session.begin()?;
        }
        if !steps.is_empty() && self.session.advance(&self.who, steps)? < steps.len() {
            return Err(overtaken(self.place(steps[0].partition), None));
        }
        self.session.commit()?;
        self.at.replace(&steps.iter().map(|step| (step.partition, step.to)).collect());
        Ok(())
    }
}
