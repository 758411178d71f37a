//! What a record changes in the collection.

use super::{Id, OnTombstone, Settings};
use crate::{
    sinks::{reject, tombstone},
    stage::guest::{Failed, InHand},
};
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};

/// No server takes a larger document: 16 MiB.
const LARGEST: usize = 16 << 20;
/// A command may be so much larger than a document, which is enough for one and its `_id` once more.
const MORE: usize = 15 << 10;
/// What stands in a command around a document and its `_id`, at most.
const AROUND: usize = 128;

/// A document that is written or removed.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// Its `_id`.
    pub(super) id: Bson,
    /// The same as text, to be compared.
    pub(super) name: String,
    /// What asks the server for the document of this very `_id`: `can_be_id` lets nothing by that would mean more.
    pub(super) by_id: RawDocumentBuf,
    pub(super) what: What,
}

impl Change {
    /// The document of this id is to be this one, or to be gone.
    fn new(id: Bson, document: Option<Document>) -> Result<Change, Failed> {
        let by_id = RawDocumentBuf::try_from(&doc! { "_id": &id });
        let by_id = by_id.map_err(|why| reject("no-id", format!("{id} can be no `_id`: {why}")))?;
        let what = match document {
            Some(document) => What::Write(whole(&by_id, document)?),
            None => What::Delete,
        };
        Ok(Change { name: name(&id), id, by_id, what })
    }

    /// How many bytes it takes in a command.
    pub(super) fn size(&self) -> usize {
        let document = match &self.what {
            What::Write(document) => document.as_bytes().len(),
            What::Delete => 0,
        };
        document + self.by_id.as_bytes().len() + AROUND
    }
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// It is to be this, its `_id` included.
    Write(RawDocumentBuf),
    /// It is to be gone.
    Delete,
}

/// What a record changes; nothing, when it is a tombstone that is to be passed over.
pub(super) fn of(in_hand: &InHand<'_>, settings: &Settings, inputs: &[String]) -> Result<Option<Change>, Failed> {
    let key = in_hand.record.key;
    let Some(value) = in_hand.record.value else {
        return match settings.on_tombstone {
            OnTombstone::Delete => of_tombstone(key, &settings.id).map(Some),
            OnTombstone::Skip => Ok(None),
            OnTombstone::Reject => Err(tombstone()),
        };
    };
    let document = read(value)?;
    let id = match &settings.id {
        Id::Key => Bson::String(text_of(key)?.to_owned()),
        Id::Position => {
            let (partition, offset) = in_hand.batch.origin(in_hand.index);
            Bson::String(format!("{}/{}@{}", inputs[partition.input], partition.number, offset.0))
        }
        Id::Field(path) => match find(&document, path) {
            Some(id) if can_be_id(id) => id.clone(),
            _ => {
                let place = path.join(".");
                return Err(reject("no-id", format!("the value has no `{place}` that can be an `_id`")));
            }
        },
    };
    if document.get("_id").is_some_and(|own| *own != id) {
        return Err(reject(
            "another-id",
            "the value has an `_id` of its own: write `id: value._id` where that is meant",
        ));
    }
    Change::new(id, Some(document)).map(Some)
}

/// A document behind its `_id`: the server keeps that in the first place.
fn whole(by_id: &RawDocumentBuf, mut document: Document) -> Result<RawDocumentBuf, Failed> {
    document.remove("_id");
    // A name with a zero in it cannot be.
    let joined = RawDocumentBuf::try_from(&document).and_then(|document| {
        let mut whole = by_id.clone();
        for field in &document {
            let (name, value) = field?;
            whole.append(name, value);
        }
        Ok(whole)
    });
    let whole =
        joined.map_err(|why| reject("not-a-document", format!("the value is no document of MongoDB: {why}")))?;
    // JSON says nothing of that: a digit of it may become 12 bytes.
    let (size, id) = (whole.as_bytes().len(), by_id.as_bytes().len());
    match size > LARGEST || size + id > LARGEST + MORE {
        true => Err(reject("too-large", "the document is larger than the 16 MiB that MongoDB takes")),
        false => Ok(whole),
    }
}

/// The document that a tombstone removes: its key is all there is to tell it by.
fn of_tombstone(key: Option<&[u8]>, id: &Id) -> Result<Change, Failed> {
    let text = text_of(key)?;
    let id = match id {
        Id::Field(path) => {
            let last = path.last().map_or("", String::as_str);
            // A key that is an object has the field, any other is the field's value.
            match serde_json::from_str(text) {
                Ok(Bson::Document(fields)) => {
                    let found = find(&fields, path).or_else(|| fields.get(last)).filter(|id| can_be_id(id));
                    found.cloned().ok_or_else(|| {
                        reject("no-id", format!("the record's key has no `{last}`, which says what to delete"))
                    })?
                }
                Ok(id @ (Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) | Bson::String(_) | Bson::ObjectId(_))) => {
                    id
                }
                _ => Bson::String(text.to_owned()),
            }
        }
        Id::Key | Id::Position => Bson::String(text.to_owned()),
    };
    Change::new(id, None)
}

/// What the server takes for an `_id`.
fn can_be_id(id: &Bson) -> bool {
    match id {
        Bson::Array(_) | Bson::Null | Bson::Undefined | Bson::RegularExpression(_) => false,
        Bson::Document(fields) => fields.keys().all(|name| !name.starts_with('$')),
        _ => true,
    }
}

/// What tells ids apart as the server does: numbers by what they are worth.
pub(super) fn name(id: &Bson) -> String {
    match id {
        Bson::Double(number) if number.fract() == 0.0 && number.abs() < 9e15 => (*number as i64).to_string(),
        other => other.to_string(),
    }
}

fn text_of(key: Option<&[u8]>) -> Result<&str, Failed> {
    let key = key.ok_or_else(|| reject("no-key", "the record has no key to be told by"))?;
    std::str::from_utf8(key).map_err(|_| reject("key-not-text", "the record's key is not UTF-8"))
}

/// A value as a document, its fields in their order. What MongoDB's own JSON says of types (`{"$date": …}`) holds.
fn read(value: &[u8]) -> Result<Document, Failed> {
    match serde_json::from_slice(value) {
        Ok(Bson::Document(document)) => Ok(document),
        Ok(_) => Err(reject("not-an-object", "the value is no JSON object")),
        Err(error) if error.is_data() => {
            Err(reject("not-a-document", format!("the value is no document of MongoDB: {error}")))
        }
        Err(error) => Err(reject("not-json", format!("the value is not JSON: {error}"))),
    }
}

fn find<'a>(document: &'a Document, path: &[String]) -> Option<&'a Bson> {
    let (first, rest) = path.split_first()?;
    let mut found = document.get(first)?;
    for name in rest {
        found = found.as_document()?.get(name)?;
    }
    Some(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        lines::{Entries, Entry, Given},
        sinks::Mode,
        transport::Batch,
    };
    use mongodb::bson::DateTime;
    use std::rc::Rc;

    #[test]
    fn a_value_is_a_document_with_its_types_and_in_its_order() {
        let text = r#"{"b": 1, "a": {"$date": "2026-01-01T00:00:00Z"}, "c": [1.5, null, "x", 3000000000], "d": {"z": true, "y": {}}}"#;
        let document = read(text.as_bytes()).unwrap();
        let date = DateTime::parse_rfc3339_str("2026-01-01T00:00:00Z").unwrap();
        let names: Vec<_> = document.keys().collect();
        assert_eq!(names, ["b", "a", "c", "d"]);
        assert_eq!(document.get_document("d").unwrap().keys().collect::<Vec<_>>(), ["z", "y"]);
        assert_eq!((document.get("a"), document.get("b")), (Some(&Bson::DateTime(date)), Some(&Bson::Int32(1))));
        let numbers = [Bson::Double(1.5), Bson::Null, Bson::String("x".into()), Bson::Int64(3_000_000_000)];
        assert_eq!(document.get_array("c").unwrap(), &numbers);
    }

    /// A digit of JSON is an element of 12 bytes.
    #[test]
    fn a_document_is_as_large_as_the_server_has_it() {
        let change = |numbers: usize| {
            let value = format!(r#"{{"id": 1, "a": [{}]}}"#, vec!["0"; numbers].join(","));
            let entry = Entry { value: Some(value.into_bytes()), ..Entry::default() };
            let batch: Rc<dyn Batch> = Rc::new(Entries::new(vec![Given { input: 0, entry }]));
            let settings = Settings {
                uri: "mongodb://a".to_owned().into(),
                database: "a".into(),
                collection: "a".into(),
                mode: Mode::Insert,
                id: Id::Position,
                on_tombstone: OnTombstone::Skip,
            };
            let in_hand = InHand { record: batch.get(0), batch: batch.clone(), index: 0, attempt: 1 };
            of(&in_hand, &settings, &["t".to_owned()]).map(|change| change.unwrap().size())
        };
        assert!((5_000_000..7_000_000).contains(&change(500_000).ok().unwrap()));
        assert_eq!(change(1_500_000).err().unwrap().reason().code.as_deref(), Some("too-large"));
    }

    #[test]
    fn a_key_cannot_mean_another_document() {
        let id = Id::Field(vec!["id".to_owned()]);
        for key in [
            r#"{"id": {"$gt": ""}}"#,
            r#"{"id": {"a\u0000b": 1}}"#,
            r#"{"id": {"$regularExpression": {"pattern": "", "options": ""}}}"#,
        ] {
            let why = of_tombstone(Some(key.as_bytes()), &id).err().map(|failed| failed.reason().code.clone().unwrap());
            assert_eq!(why.as_deref(), Some("no-id"), "{key}");
        }
        for value in [
            r#"{"id": {"$gt": ""}}"#,
            r#"{"id": {"$regularExpression": {"pattern": "", "options": ""}}}"#,
            r#"{"id": [1]}"#,
        ] {
            let found =
                read(value.as_bytes()).map(|document| find(&document, &["id".to_owned()]).is_some_and(can_be_id));
            assert!(!found.unwrap_or_default(), "{value}");
        }
        let whole = of_tombstone(Some(br#"{"id": {"a": 1}}"#), &id).unwrap();
        assert_eq!(whole.id, Bson::Document(doc! { "a": 1 }));
    }

    #[test]
    fn what_is_no_document_says_why() {
        let code = |text: &str| read(text.as_bytes()).err().unwrap().reason().code.clone().unwrap();
        assert_eq!(code("[1]"), "not-an-object");
        assert_eq!(code("x"), "not-json");
        assert_eq!(code("{\"a\":"), "not-json");
        assert_eq!(code(r#"{"a": {"$date": "yesterday"}}"#), "not-a-document");
    }
}
