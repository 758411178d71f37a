//! A session with the servers: commands, and what their answers mean.

use super::{
    Settings,
    change::{Change, What, name},
};
use crate::{
    sinks::{
        calls::{Calls, NoAnswer},
        reject,
    },
    stage::guest::Failed,
    transport::Fault,
    worker::control::Control,
};
use mongodb::{
    Client, Database,
    bson::{Bson, Document, RawArrayBuf, RawDocumentBuf, cstr, doc, rawdoc},
    error::{Error, ErrorKind},
    options::{ClientOptions, ConnectionString, HostInfo, ReadPreference, SelectionCriteria, Tls},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::task::JoinHandle;

/// How long a server is looked for, and how long an answer may take, unless the URI says otherwise.
const FIND: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(40);
/// How long the server itself works at a command: one that nobody waits for any more does nothing later on.
const WORK_MS: i32 = 30_000;

/// What becomes of a change that the server does not take: its place among those of the command, and why.
pub(super) struct Refused {
    pub(super) place: usize,
    pub(super) failed: Failed,
}

/// What the server is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Add documents.
    Insert,
    /// Put documents in the place of those with their ids, in this order.
    Replace,
    /// Remove documents; that one is not there is fine.
    Delete,
}

/// A command that the server works at.
pub(super) struct Call(JoinHandle<Result<Document, Error>>);

pub(super) struct Session {
    settings: Arc<Settings>,
    application: String,
    /// As messages show them.
    hosts: String,
    calls: Calls,
    database: Option<Database>,
    /// A server has let this one in.
    is_found: bool,
    /// The URI says itself when something counts as written.
    has_concern: bool,
}

/// What is wrong with a URI; it shows nothing of it.
pub fn check_uri(uri: &str) -> Result<(), &'static str> {
    ConnectionString::parse(uri).map(drop).map_err(|_| "this is no connection string of MongoDB")
}

impl Job {
    fn command(self, collection: &str, changes: &[&Change]) -> RawDocumentBuf {
        let mut items = RawArrayBuf::new();
        for change in changes {
            match (self, &change.what) {
                (Job::Insert, What::Write(document)) => items.push(document),
                (Job::Replace, What::Write(document)) => {
                    let mut update = RawDocumentBuf::new();
                    update.append(cstr!("q"), &change.by_id);
                    update.append(cstr!("u"), document);
                    update.append(cstr!("upsert"), true);
                    items.push(update);
                }
                _ => {
                    let mut delete = RawDocumentBuf::new();
                    delete.append(cstr!("q"), &change.by_id);
                    delete.append(cstr!("limit"), 1);
                    items.push(delete);
                }
            }
        }
        match self {
            Job::Insert => rawdoc! { "insert": collection, "documents": items },
            Job::Replace => rawdoc! { "update": collection, "updates": items },
            Job::Delete => rawdoc! { "delete": collection, "deletes": items },
        }
    }
}

/// Whether each change is of another document.
fn are_apart(changes: &[&Change]) -> bool {
    let mut names = HashSet::new();
    changes.iter().all(|change| names.insert(&change.name))
}

impl Session {
    pub(super) fn new(settings: &Arc<Settings>, name: &str, control: Arc<Control>) -> Result<Session, String> {
        let known =
            ConnectionString::parse(settings.uri.reveal()).map_err(|_| "the `uri` cannot be read".to_owned())?;
        Ok(Session {
            settings: settings.clone(),
            application: format!("millstream {name}"),
            hosts: match known.host_info {
                HostInfo::HostIdentifiers(hosts) => {
                    hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                }
                HostInfo::DnsRecord(name) => name,
                _ => "its hosts".to_owned(),
            },
            calls: Calls::new(control).map_err(|error| format!("no thread for MongoDB: {error}"))?,
            database: None,
            is_found: false,
            has_concern: known.write_concern.is_some(),
        })
    }

    /// Finds a server that lets this one in, when none was found before.
    pub(super) fn find_server(&mut self) -> Result<(), Fault> {
        if !self.is_found {
            let database = self.database()?;
            let answer = self.calls.wait(ANSWER, async { database.run_command(doc! { "ping": 1 }).await });
            self.heard(answer)?;
            self.is_found = true;
        }
        Ok(())
    }

    fn database(&mut self) -> Result<Database, Fault> {
        if let Some(database) = &self.database {
            return Ok(database.clone());
        }
        let (settings, application) = (self.settings.clone(), self.application.clone());
        let connecting = async move {
            let mut options = ClientOptions::parse(settings.uri.reveal()).await?;
            options.app_name.get_or_insert(application);
            options.connect_timeout.get_or_insert(FIND);
            options.server_selection_timeout.get_or_insert(FIND);
            options.max_pool_size = Some(2);
            if let Some(Tls::Enabled(tls)) = &options.tls {
                let mut files = tls.ca_file_path.iter().chain(&tls.cert_key_file_path);
                if let Some(missing) = files.find(|file| !file.exists()) {
                    return Ok(Err(missing.display().to_string()));
                }
            }
            if let Some(Tls::Enabled(tls)) = &mut options.tls
                && tls.ca_file_path.is_none()
            {
                // The OpenSSL that is built in does not know where this system keeps its authorities.
                tls.ca_file_path = openssl_probe::probe().cert_file;
            }
            Ok::<_, Error>(Ok(Client::with_options(options)?.database(&settings.database)))
        };
        let made = self.calls.wait(ANSWER, connecting);
        let database = self.heard(made)?.map_err(|missing| {
            let hosts = &self.hosts;
            Fault::Fatal(format!("MongoDB at {hosts}: there is no file {missing}, which its `uri` names for TLS"))
        })?;
        self.database = Some(database.clone());
        Ok(database)
    }

    fn heard<T>(&self, answer: Result<Result<T, Error>, NoAnswer>) -> Result<T, Fault> {
        match answer {
            Ok(answer) => answer.map_err(|error| self.fault(&error)),
            Err(NoAnswer) => Err(self.no_answer("there was no answer in time")),
        }
    }

    fn no_answer(&self, why: &str) -> Fault {
        Fault::Unavailable(format!("MongoDB at {} does not answer: {why}", self.hosts))
    }

    /// What an error means that is no document's.
    fn fault(&self, error: &Error) -> Fault {
        let hosts = &self.hosts;
        match &*error.kind {
            ErrorKind::Authentication { .. } => Fault::Forbidden(format!(
                "MongoDB at {hosts} lets nobody in by this `uri`: its user or password is wrong"
            )),
            ErrorKind::Command(said) => self.said(said.code, &said.message),
            ErrorKind::Io(why) => self.no_answer(&why.to_string()),
            ErrorKind::ServerSelection { message, .. } => match last_reason(message) {
                reason if reason == "certificate verify failed" => Fault::Forbidden(format!(
                    "MongoDB at {hosts} has a certificate that cannot be trusted: name the file of who vouches for it \
                     by `tlsCAFile` in its `uri`, or correct the host"
                )),
                reason => self.no_answer(&reason),
            },
            ErrorKind::InvalidTlsConfig { message, .. } => Fault::Forbidden(format!(
                "MongoDB at {hosts}: the files that its `uri` names for TLS, or this system's authorities, cannot be used: {}",
                line(message)
            )),
            ErrorKind::ConnectionPoolCleared { .. } => self.no_answer("the connection was lost"),
            other => self.no_answer(&line(&other.to_string())),
        }
    }

    /// What a server says of a whole command.
    fn said(&self, code: i32, message: &str) -> Fault {
        let (hosts, message) = (&self.hosts, line(message));
        match code {
            // Nobody, or somebody without the right.
            18 => Fault::Forbidden(format!("MongoDB at {hosts} lets nobody in by this `uri`: {message}")),
            13 | 8000 => Fault::Forbidden(format!("MongoDB at {hosts}: {message}: allow this user to write")),
            // It took longer than it may: with fewer records it may not.
            50 => Fault::TimedOut(format!("MongoDB at {hosts}: {message}")),
            // No such command, no such name, a view: somebody has to mend it.
            59 | 73 | 166 => Fault::Forbidden(format!("MongoDB at {hosts}: {message}")),
            _ => Fault::Unavailable(format!("MongoDB at {hosts}: {message}")),
        }
    }

    /// Says to the server what is to be done, and does not wait for what it says.
    pub(super) fn begin(&mut self, job: Job, changes: &[&Change]) -> Result<Call, Fault> {
        let mut command = job.command(&self.settings.collection, changes);
        command.append(cstr!("ordered"), job != Job::Insert && !are_apart(changes));
        command.append(cstr!("maxTimeMS"), WORK_MS);
        // What counts as written is not to be lost with one of several servers.
        if !self.has_concern {
            command.append(cstr!("writeConcern"), rawdoc! { "w": "majority" });
        }
        let database = self.database()?;
        let call = self.calls.begin(async move { database.run_raw_command(command).await });
        call.map(Call).map_err(|NoAnswer| self.no_answer("there is nobody to ask it"))
    }

    /// Waits for the end of what was begun with these changes.
    pub(super) fn end(&mut self, job: Job, changes: &[&Change], call: Call) -> Result<Vec<Refused>, Fault> {
        match job {
            Job::Insert => self.inserted(changes, call),
            Job::Replace | Job::Delete => self.done_in_order(job, changes, call),
        }
    }

    /// Nobody wants to know what comes of it; but it has time to end before anything else is said.
    pub(super) fn leave(&mut self, call: Call) {
        self.answer(call).ok();
    }

    /// What the server says to a command that it took.
    fn answer(&self, Call(mut call): Call) -> Result<Document, Fault> {
        let answer = self.calls.wait(ANSWER, &mut call);
        // What nobody waits for goes on nowhere.
        call.abort();
        let answer = match answer {
            Ok(Err(panic)) => return Err(self.no_answer(&line(&panic.to_string()))),
            Ok(Ok(answer)) => self.heard(Ok(answer))?,
            Err(NoAnswer) => self.heard(Err(NoAnswer))?,
        };
        if let Ok(concern) = answer.get_document("writeConcernError") {
            let why = concern.get_str("errmsg").unwrap_or("not written by enough servers");
            return Err(self.said(concern.get_i32("code").unwrap_or_default(), why));
        }
        Ok(answer)
    }

    /// Changes of one document are made in their order: the server stops at what it refuses, and is told to go on behind it.
    /// Where each is of another document, it may refuse as many as it likes in one go.
    fn done_in_order(&mut self, job: Job, changes: &[&Change], call: Call) -> Result<Vec<Refused>, Fault> {
        let (mut call, mut begin, mut refused) = (Some(call), 0, Vec::new());
        while let Some(begun) = call.take() {
            let answer = self.answer(begun)?;
            let mut last = None;
            for error in write_errors(&answer) {
                let place = begin + index(error);
                refused.push(self.judge(error, place)?);
                last = Some(place);
            }
            let rest = last.filter(|_| !are_apart(&changes[begin..])).map_or(changes.len(), |last| last + 1);
            if rest < changes.len() {
                begin = rest;
                call = Some(self.begin(job, &changes[rest..])?);
            }
        }
        refused.sort_by_key(|refused| refused.place);
        Ok(refused)
    }

    /// Of documents that were added, one whose id was there already is a repeat when the document is the same, and wrong when
    /// it is not.
    fn inserted(&mut self, changes: &[&Change], call: Call) -> Result<Vec<Refused>, Fault> {
        let answer = self.answer(call)?;
        let (mut refused, mut there) = (Vec::new(), BTreeMap::new());
        for error in write_errors(&answer) {
            let refusal = self.judge(error, index(error))?;
            match error.get_i32("code") {
                Ok(11000) => drop(there.insert(refusal.place, refusal)),
                _ => refused.push(refusal),
            }
        }
        let found = self.find(there.keys().map(|place| changes[*place].id.clone()).collect())?;
        let id = |document: &RawDocumentBuf| document.get("_id").ok()??.try_into().ok().map(|id: Bson| name(&id));
        let known: HashMap<_, _> = found.iter().filter_map(|document| Some((id(document)?, document))).collect();
        for (place, refusal) in there {
            let What::Write(own) = &changes[place].what else { continue };
            match known.get(&changes[place].name) {
                Some(document) if same(document, own) => {}
                Some(_) => refused.push(Refused {
                    place,
                    failed: reject("11000", format!("there is another document with the `_id` {}", changes[place].id)),
                }),
                // Another unique index.
                None => refused.push(refusal),
            }
        }
        refused.sort_by_key(|refused| refused.place);
        Ok(refused)
    }

    /// The documents with these ids.
    fn find(&mut self, ids: Vec<Bson>) -> Result<Vec<RawDocumentBuf>, Fault> {
        let mut found = Vec::new();
        for ids in ids.chunks(1000) {
            let database = self.database()?;
            let collection = database.collection::<RawDocumentBuf>(&self.settings.collection);
            let query = doc! { "_id": { "$in": ids.to_vec() } };
            let answer = self.calls.wait(ANSWER, async {
                let mut all = Vec::new();
                // Others may not know yet what was written a moment ago.
                let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
                let mut cursor = collection.find(query).selection_criteria(primary).await?;
                while cursor.advance().await? {
                    all.push(cursor.deserialize_current()?);
                }
                Ok(all)
            });
            found.extend(self.heard(answer)?);
        }
        Ok(found)
    }

    /// What the server says of one document: its own failure, unless it says what no document is to blame for.
    fn judge(&self, error: &Document, place: usize) -> Result<Refused, Fault> {
        let code = error.get_i32("code").unwrap_or_default();
        let message = error.get_str("errmsg").unwrap_or("refused");
        if !is_of_a_document(code) {
            return Err(self.said(code, message));
        }
        // Some servers have no number for it.
        let code = if code == 0 { "refused".to_owned() } else { code.to_string() };
        let failed = reject(&code, line(message));
        Ok(Refused { place, failed })
    }
}

/// What the server says of a document by such a code, or by none, and not of itself or of those around it. What is not known
/// here is a document's: it is to be seen among the dead letters, and not to hold up all others for ever.
fn is_of_a_document(code: i32) -> bool {
    match code {
        // It is not to be reached, ends, works at something else, or has no room or no time.
        6 | 7 | 24 | 39 | 46 | 50 | 89 | 91 | 112 | 117 | 132..=134 | 146 | 202 | 262 | 279 | 290 | 384 | 9001 => false,
        // Nobody has the right to it, or there is no such place or command.
        13 | 18 | 26 | 59 | 73 | 166 | 8000 => false,
        // It is not the one that takes writes, or does not know yet who has what.
        63 | 64 | 100 | 150 | 189 | 234 | 244 | 246 | 251 => false,
        10107 | 11600..=11602 | 12501 | 13388 | 13435 | 13436 | 14031 => false,
        _ => true,
    }
}

fn write_errors(answer: &Document) -> impl Iterator<Item = &Document> {
    answer.get_array("writeErrors").into_iter().flatten().filter_map(Bson::as_document)
}

fn index(error: &Document) -> usize {
    let index = error.get("index").and_then(|index| index.as_i64().or_else(|| index.as_i32().map(i64::from)));
    index.and_then(|index| usize::try_from(index).ok()).unwrap_or_default()
}

/// Whether two documents say the same, in whatever order their fields are.
fn same(one: &RawDocumentBuf, other: &RawDocumentBuf) -> bool {
    let read = |document: &RawDocumentBuf| Document::try_from(document).map(Bson::Document);
    matches!((read(one), read(other)), (Ok(one), Ok(other)) if alike(&one, &other))
}

fn alike(one: &Bson, other: &Bson) -> bool {
    match (one, other) {
        (Bson::Document(one), Bson::Document(other)) => {
            let is_alike = |(name, value): (&String, &Bson)| other.get(name).is_some_and(|other| alike(value, other));
            one.len() == other.len() && one.iter().all(is_alike)
        }
        (Bson::Array(one), Bson::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        // What is no number is not equal to itself.
        (Bson::Double(one), Bson::Double(other)) => one == other || (one.is_nan() && other.is_nan()),
        _ => one == other,
    }
}

/// Why no server was found, without the description of the whole deployment.
fn last_reason(message: &str) -> String {
    let reason = message.rsplit_once("Error: ").map_or("no server was found", |(_, reason)| reason);
    let reason = reason.split([',', '}']).next().unwrap_or(reason);
    // The driver says before it of what kind it is.
    let reason = reason.rsplit(": ").next().unwrap_or(reason);
    match reason.strip_prefix("error:") {
        // OpenSSL's: its number, two places in its code, what it is, and where.
        Some(parts) => line(parts.split(':').nth(3).unwrap_or(parts)),
        None => line(reason),
    }
}

fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_the_same_document() {
        let same = |one: Document, other: Document| {
            super::same(&RawDocumentBuf::try_from(one).unwrap(), &RawDocumentBuf::try_from(other).unwrap())
        };
        let whole = doc! { "_id": 1, "a": { "b": 1, "c": [f64::NAN] } };
        assert!(same(whole.clone(), doc! { "a": { "c": [f64::NAN], "b": 1 }, "_id": 1 }));
        for other in [
            doc! { "_id": 1, "a": { "b": 1, "c": [1.0] } },
            doc! { "_id": 1, "a": { "b": 1_i64, "c": [f64::NAN] } },
            doc! { "_id": 1, "a": { "b": 1, "c": [f64::NAN] }, "d": 1 },
            doc! { "_id": 1, "a": { "b": 1, "c": [f64::NAN, 1] } },
        ] {
            assert!(!same(whole.clone(), other.clone()), "{other}");
        }
    }
}
