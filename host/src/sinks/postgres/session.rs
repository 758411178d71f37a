//! A session with the server: what is said in it, and what it means when there is no answer.

use super::{
    Settings, Who,
    server::Server,
    table::{Column, TableName},
    verdict::{self, Verdict},
};
use crate::{
    sinks::{
        calls::{Calls, NoAnswer},
        ledger::Step,
    },
    stage::guest::Failed,
    transport::{Births, Fault, NextOffset, Partition, Progress},
    worker::control::Control,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio_postgres::{
    Client, Error, Row,
    types::{ToSql, Type},
};

/// How long a statement may take, and an answer to it. A session that stands still in a transaction is ended by the server
/// after a while, as nobody else gets its locks before.
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = '30s'; SET LOCAL lock_timeout = '10s'; \
                     SET LOCAL idle_in_transaction_session_timeout = '60s'; SET CONSTRAINTS ALL IMMEDIATE";
const ANSWER: Duration = Duration::from_secs(40);
/// Whoever makes a table holds this lock, as two who do it at once get in each other's way.
const MAKING: i64 = 0x6d69_6c6c_7374_7265;

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

pub(super) struct Session {
    server: Server,
    application: String,
    calls: Calls,
    client: Option<Client>,
    /// A transaction is open.
    open: bool,
    progress: TableName,
}

impl Session {
    pub(super) fn new(settings: &Settings, who: &Who, control: Arc<Control>) -> Result<Session, String> {
        Ok(Session {
            server: settings.server.clone(),
            application: format!("millstream {}", who.name),
            calls: Calls::new(control).map_err(|error| format!("no thread for PostgreSQL: {error}"))?,
            client: None,
            open: false,
            progress: settings.table.progress(),
        })
    }

    /// Connects; false when it was connected.
    pub(super) fn connect(&mut self) -> Result<bool, Fault> {
        if self.client.as_ref().is_some_and(|client| !client.is_closed()) {
            return Ok(false);
        }
        (self.client, self.open) = (None, false);
        let tls = self.server.tls().map_err(Fault::Fatal)?;
        let config = self.server.config(&self.application);
        let connecting = async {
            let (client, connection) = config.connect(tls).await?;
            // It ends with the client.
            tokio::spawn(connection);
            Ok::<_, Error>(client)
        };
        let address = self.server.address();
        let client = match self.calls.wait(self.server.patience() + Duration::from_secs(1), connecting) {
            Ok(client) => client.map_err(|error| verdict::connecting(&address, &error))?,
            Err(NoAnswer) => return Err(verdict::no_answer(&address)),
        };
        self.client = Some(client);
        Ok(true)
    }

    /// Ends a session that is in a transaction: what was done in it is undone.
    pub(super) fn abandon(&mut self) {
        if std::mem::take(&mut self.open) {
            self.client = None;
        }
    }

    /// True when a transaction is open.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn begin(&mut self) -> Result<(), Fault> {
        self.abandon();
        self.connect()?;
        self.open = true;
        self.say(BEGIN)
    }

    /// After this it is there for good. Without an answer nobody knows.
    pub(super) fn commit(&mut self) -> Result<(), Fault> {
        let address = self.server.address();
        let answer = self.call(async |client| client.batch_execute("COMMIT").await);
        match answer {
            Ok(Ok(())) => {
                self.open = false;
                Ok(())
            }
            Ok(Err(error)) if error.as_db_error().is_some() => Err(verdict::fault(&address, &error)),
            _ => Err(Fault::Unknown(format!("PostgreSQL at {address} did not answer to a COMMIT"))),
        }
    }

    /// What is done from here on may be taken back.
    pub(super) fn mark(&mut self) -> Result<(), Fault> {
        self.say("SAVEPOINT part")
    }

    /// What was done since then stays.
    pub(super) fn keep(&mut self) -> Result<(), Fault> {
        self.say("RELEASE SAVEPOINT part")
    }

    /// What was done since then is undone.
    pub(super) fn take_back(&mut self) -> Result<(), Fault> {
        self.say("ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part")
    }

    /// Does this with rows as JSON. The failure is that of one of them.
    pub(super) fn write(&mut self, statement: &str, rows: &str) -> Result<Option<Failed>, Fault> {
        match self.query(statement, &[(&rows, Type::TEXT)])? {
            Ok(_) => Ok(None),
            Err(error) => match verdict::of(&error) {
                Verdict::Record(failed) => Ok(Some(failed)),
                Verdict::Other => Err(verdict::fault(&self.server.address(), &error)),
            },
        }
    }

    /// The columns that can be written; none when there is no such table.
    pub(super) fn columns(&mut self, table: &TableName) -> Result<Vec<Column>, Fault> {
        const COLUMNS: &str = "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute \
                               WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped \
                               AND attgenerated = '' ORDER BY attnum";
        let name = table.sql();
        let rows = self.ask(COLUMNS, &[(&name, Type::TEXT)])?;
        Ok(rows.iter().map(|row| Column { name: row.get(0), of_type: row.get(1) }).collect())
    }

    /// Makes a table.
    pub(super) fn make(&mut self, name: &str, statement: &str) -> Result<(), Fault> {
        self.begin()?;
        self.ask("SELECT pg_advisory_xact_lock($1)", &[(&MAKING, Type::INT8)])?;
        let address = self.server.address();
        let made = self.call(async |client| client.batch_execute(statement).await);
        match made {
            Ok(Ok(())) => self.commit(),
            Ok(Err(error)) => Err(verdict::making(&address, name, statement, &error)),
            Err(NoAnswer) => Err(verdict::no_answer(&address)),
        }
    }

    /// Where nothing is known of a partition, this is where it begins.
    pub(super) fn note_starts(&mut self, who: &Who, starts: &Progress, births: &Births) -> Result<(), Fault> {
        let statement = format!(
            "INSERT INTO {} (sink_group, topic, partition, next_offset, birth) \
             SELECT $1, s.* FROM unnest($2, $3, $4, $5) AS s ON CONFLICT DO NOTHING",
            self.progress.sql()
        );
        self.ask_of_starts(&statement, who, starts, births).map(drop)
    }

    /// Begins anew in those partitions that have another birth than is known; which they are.
    pub(super) fn adopt(&mut self, who: &Who, starts: &Progress, births: &Births) -> Result<Vec<Partition>, Fault> {
        // Where none is known yet, the log did not know it either.
        let statement = format!(
            "WITH s AS (SELECT * FROM unnest($2, $3, $4, $5) AS s(t, n, at, birth)), \
             known AS (UPDATE {0} AS p SET birth = s.birth FROM s \
             WHERE p.sink_group = $1 AND p.topic = s.t AND p.partition = s.n AND p.birth IS NULL) \
             UPDATE {0} AS p SET next_offset = s.at, birth = s.birth, updated_at = now() FROM s \
             WHERE p.sink_group = $1 AND p.topic = s.t AND p.partition = s.n AND p.birth <> s.birth \
             RETURNING p.topic, p.partition",
            self.progress.sql()
        );
        let rows = self.ask_of_starts(&statement, who, starts, births)?;
        Ok(rows.iter().filter_map(|row| partition(who, row.get(0), row.get(1))).collect())
    }

    /// Asks this of the group's partitions: their topics, numbers, starts and births.
    fn ask_of_starts(
        &mut self,
        statement: &str,
        who: &Who,
        starts: &Progress,
        births: &Births,
    ) -> Result<Vec<Row>, Fault> {
        let (topics, numbers): (Vec<_>, Vec<_>) = starts.iter().map(|(partition, _)| named(who, partition)).unzip();
        let at: Vec<_> = starts.iter().map(|(_, next)| number(next)).collect();
        let births: Vec<_> = starts.iter().map(|(partition, _)| births.get(&partition)).collect();
        let parameters: [Parameter<'_>; 5] = [
            (&who.group, Type::TEXT),
            (&topics, Type::TEXT_ARRAY),
            (&numbers, Type::INT4_ARRAY),
            (&at, Type::INT8_ARRAY),
            (&births, Type::TEXT_ARRAY),
        ];
        self.ask(statement, &parameters)
    }

    /// How far the sink is in these partitions. Until the transaction ends, nobody changes it.
    pub(super) fn lock(&mut self, who: &Who, partitions: &BTreeSet<Partition>) -> Result<Progress, Fault> {
        let (topics, numbers): (Vec<_>, Vec<_>) = partitions.iter().map(|partition| named(who, *partition)).unzip();
        let statement = format!(
            "SELECT topic, partition, next_offset FROM {} WHERE sink_group = $1 \
             AND (topic, partition) IN (SELECT * FROM unnest($2, $3)) ORDER BY topic, partition FOR UPDATE",
            self.progress.sql()
        );
        let parameters: [Parameter<'_>; 3] =
            [(&who.group, Type::TEXT), (&topics, Type::TEXT_ARRAY), (&numbers, Type::INT4_ARRAY)];
        let rows = self.ask(&statement, &parameters)?;
        let found = rows.iter().filter_map(|row| {
            let next: i64 = row.get(2);
            Some((partition(who, row.get(0), row.get(1))?, NextOffset(u64::try_from(next).ok()?)))
        });
        Ok(found.collect())
    }

    /// Takes steps; how many of them began where the sink is.
    pub(super) fn advance(&mut self, who: &Who, steps: &[Step]) -> Result<usize, Fault> {
        let (topics, numbers): (Vec<_>, Vec<_>) = steps.iter().map(|step| named(who, step.partition)).unzip();
        let (from, to): (Vec<_>, Vec<_>) = steps.iter().map(|step| (number(step.from), number(step.to))).unzip();
        let statement = format!(
            "UPDATE {} AS p SET next_offset = s.b, updated_at = now() \
             FROM unnest($2, $3, $4, $5) AS s(t, n, a, b) \
             WHERE p.sink_group = $1 AND p.topic = s.t AND p.partition = s.n AND p.next_offset = s.a \
             RETURNING 1",
            self.progress.sql()
        );
        let parameters: [Parameter<'_>; 5] = [
            (&who.group, Type::TEXT),
            (&topics, Type::TEXT_ARRAY),
            (&numbers, Type::INT4_ARRAY),
            (&from, Type::INT8_ARRAY),
            (&to, Type::INT8_ARRAY),
        ];
        Ok(self.ask(&statement, &parameters)?.len())
    }

    fn say(&mut self, statement: &str) -> Result<(), Fault> {
        let answer = self.call(async |client| client.batch_execute(statement).await);
        self.heard(answer)
    }

    fn ask(&mut self, statement: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Fault> {
        let answer = self.query(statement, parameters)?;
        self.heard(Ok(answer))
    }

    fn query(&mut self, statement: &str, parameters: &[Parameter<'_>]) -> Result<Result<Vec<Row>, Error>, Fault> {
        let answer = self.call(async |client| client.query_typed(statement, parameters).await);
        answer.map_err(|NoAnswer| verdict::no_answer(&self.server.address()))
    }

    fn heard<T>(&self, answer: Result<Result<T, Error>, NoAnswer>) -> Result<T, Fault> {
        let address = self.server.address();
        match answer {
            Ok(answer) => answer.map_err(|error| verdict::fault(&address, &error)),
            Err(NoAnswer) => Err(verdict::no_answer(&address)),
        }
    }

    /// One call. A client that has no answer is of no more use.
    fn call<T>(&mut self, call: impl AsyncFnOnce(&Client) -> Result<T, Error>) -> Result<Result<T, Error>, NoAnswer> {
        let Some(client) = &self.client else { return Err(NoAnswer) };
        let answer = self.calls.wait(ANSWER, call(client));
        if answer.is_err() {
            self.client = None;
        }
        answer
    }
}

/// A partition as the database knows it.
fn named(who: &Who, partition: Partition) -> (&str, i32) {
    (&who.inputs[partition.input], i32::try_from(partition.number).unwrap_or(i32::MAX))
}

/// A partition that the database tells of.
fn partition(who: &Who, topic: &str, number: i32) -> Option<Partition> {
    let input = who.inputs.iter().position(|input| input == topic)?;
    Some(Partition { input, number: u32::try_from(number).ok()? })
}

fn number(next: NextOffset) -> i64 {
    i64::try_from(next.0).unwrap_or(i64::MAX)
}
