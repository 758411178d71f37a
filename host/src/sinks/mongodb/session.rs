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
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

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

pub(super) struct Session {
    settings: Arc<Settings>,
    application: String,
    /// As messages show them.
    hosts: String,
    calls: Calls,
    database: Option<Database>,
    /// The URI says itself when something counts as written.
    has_concern: bool,
}

/// What is wrong with a URI; it shows nothing of it.
pub fn check_uri(uri: &str) -> Result<(), &'static str> {
    ConnectionString::parse(uri).map(drop).map_err(|_| "this is no connection string of MongoDB")
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
            has_concern: known.write_concern.is_some(),
        })
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
            if let Some(Tls::Enabled(tls)) = &mut options.tls
                && tls.ca_file_path.is_none()
            {
                // The OpenSSL that is built in does not know where this system keeps its authorities.
                tls.ca_file_path = openssl_probe::probe().cert_file;
            }
            Ok::<_, Error>(Client::with_options(options)?.database(&settings.database))
        };
        let made = self.calls.wait(ANSWER, connecting);
        let database = self.heard(made)?;
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

    /// One command; the answer, when the server took it.
    fn run(&mut self, mut command: RawDocumentBuf) -> Result<Document, Fault> {
        command.append(cstr!("maxTimeMS"), WORK_MS);
        // What counts as written is not to be lost with one of several servers.
        if !self.has_concern {
            command.append(cstr!("writeConcern"), rawdoc! { "w": "majority" });
        }
        let database = self.database()?;
        let answer = self.calls.wait(ANSWER, async { database.run_raw_command(command).await });
        let answer = self.heard(answer)?;
        if let Ok(concern) = answer.get_document("writeConcernError") {
            let why = concern.get_str("errmsg").unwrap_or("not written by enough servers");
            return Err(self.said(concern.get_i32("code").unwrap_or_default(), why));
        }
        Ok(answer)
    }

    /// Puts documents in the place of those with their ids, in this order.
    pub(super) fn replace(&mut self, changes: &[&Change]) -> Result<Vec<Refused>, Fault> {
        self.in_order(changes, |collection, changes| {
            let mut updates = RawArrayBuf::new();
            for change in changes {
                if let What::Write(document) = &change.what {
                    let mut update = RawDocumentBuf::new();
                    update.append(cstr!("q"), &change.by_id);
                    update.append(cstr!("u"), document);
                    update.append(cstr!("upsert"), true);
                    updates.push(update);
                }
            }
            rawdoc! { "update": collection, "updates": updates }
        })
    }

    /// Removes documents; that one is not there is fine.
    pub(super) fn delete(&mut self, changes: &[&Change]) -> Result<Vec<Refused>, Fault> {
        self.in_order(changes, |collection, changes| {
            let mut deletes = RawArrayBuf::new();
            for change in changes {
                let mut delete = RawDocumentBuf::new();
                delete.append(cstr!("q"), &change.by_id);
                delete.append(cstr!("limit"), 1);
                deletes.push(delete);
            }
            rawdoc! { "delete": collection, "deletes": deletes }
        })
    }

    /// Changes of one document are made in their order: the server stops at what it refuses, and is told to go on behind it.
    /// Where each is of another document, it may refuse as many as it likes in one go.
    fn in_order(
        &mut self,
        changes: &[&Change],
        command: impl Fn(&str, &[&Change]) -> RawDocumentBuf,
    ) -> Result<Vec<Refused>, Fault> {
        let mut names = BTreeSet::new();
        let is_ordered = !changes.iter().all(|change| names.insert(&change.name));
        let mut refused = Vec::new();
        let mut next = 0;
        while next < changes.len() {
            let mut command = command(&self.settings.collection, &changes[next..]);
            command.append(cstr!("ordered"), is_ordered);
            let answer = self.run(command)?;
            let begin = next;
            next = changes.len();
            for error in write_errors(&answer) {
                let place = begin + index(error);
                refused.push(self.judge(error, place)?);
                if is_ordered {
                    next = place + 1;
                }
            }
        }
        refused.sort_by_key(|refused| refused.place);
        Ok(refused)
    }

    /// Adds documents. One whose id is there already is a repeat when the document is the same, and wrong when it is not.
    pub(super) fn insert(&mut self, changes: &[&Change]) -> Result<Vec<Refused>, Fault> {
        let mut documents = RawArrayBuf::new();
        for change in changes {
            if let What::Write(document) = &change.what {
                documents.push(document);
            }
        }
        let answer = self
            .run(rawdoc! { "insert": self.settings.collection.as_str(), "documents": documents, "ordered": false })?;
        let (mut refused, mut there) = (Vec::new(), BTreeMap::new());
        for error in write_errors(&answer) {
            let refusal = self.judge(error, index(error))?;
            match error.get_i32("code") {
                Ok(11000) => drop(there.insert(refusal.place, refusal)),
                _ => refused.push(refusal),
            }
        }
        let found = self.find(there.keys().map(|place| changes[*place].id.clone()).collect())?;
        let known: HashMap<_, _> =
            found.iter().filter_map(|document| Some((name(document.get("_id")?), document))).collect();
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
    fn find(&mut self, ids: Vec<Bson>) -> Result<Vec<Document>, Fault> {
        let mut found = Vec::new();
        for ids in ids.chunks(1000) {
            let database = self.database()?;
            let collection = database.collection::<Document>(&self.settings.collection);
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
        let failed = reject(&code.to_string(), line(message));
        Ok(Refused { place, failed })
    }
}

/// What the server says of a document by such a code, and not of itself or of those around it.
fn is_of_a_document(code: i32) -> bool {
    match code {
        2 | 9 | 14 | 15 | 22 | 52..=57 | 66 | 121 => true,
        // It is ended, or not the one that takes writes, or does not know yet who has what, or has no room.
        10107 | 11600..=11602 | 12501 | 13388 | 13435 | 13436 | 14031 => false,
        // The others of these are of values that an index cannot take, and the like.
        code => code > 10_000,
    }
}

fn write_errors(answer: &Document) -> impl Iterator<Item = &Document> {
    answer.get_array("writeErrors").into_iter().flatten().filter_map(Bson::as_document)
}

fn index(error: &Document) -> usize {
    let index = error.get("index").and_then(|index| index.as_i64().or_else(|| index.as_i32().map(i64::from)));
    index.and_then(|index| usize::try_from(index).ok()).unwrap_or_default()
}

/// Two documents that say the same, in whatever order their fields are at the top.
fn same(one: &Document, other: &RawDocumentBuf) -> bool {
    let Ok(other) = Document::try_from(other) else { return false };
    one.len() == other.len() && one.iter().all(|(name, value)| other.get(name) == Some(value))
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
