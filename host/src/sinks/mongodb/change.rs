//! What a record changes in the collection.

use super::{Id, OnTombstone, Settings};
use crate::{
    sinks::{reject, tombstone},
    stage::guest::{Failed, InHand},
};
use mongodb::bson::{Bson, Document, doc};

/// No server takes a larger document: 16 MiB.
const LARGEST: usize = 16 << 20;

/// A document that is written or removed.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// Its `_id`.
    pub(super) id: Bson,
    /// The same as text, to be compared.
    pub(super) name: String,
    pub(super) what: What,
    /// What it takes, about.
    pub(super) size: usize,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// It is to be this, its `_id` included.
    Write(Document),
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
            Some(Bson::Array(_) | Bson::Null | Bson::Undefined | Bson::RegularExpression(_)) | None => {
                let place = path.join(".");
                return Err(reject("no-id", format!("the value has no `{place}` that can be an `_id`")));
            }
            Some(id) => id.clone(),
        },
    };
    if document.get("_id").is_some_and(|own| *own != id) {
        return Err(reject(
            "another-id",
            "the value has an `_id` of its own: write `id: value._id` where that is meant",
        ));
    }
    // The server keeps it in the first place.
    let mut whole = doc! { "_id": id.clone() };
    whole.extend(document.into_iter().filter(|(name, _)| name != "_id"));
    if value.len() > LARGEST {
        return Err(reject("too-large", "the document is larger than the 16 MiB that MongoDB takes"));
    }
    Ok(Some(Change { name: id.to_string(), id, what: What::Write(whole), size: size_of::<Change>() + 2 * value.len() }))
}

/// The document that a tombstone removes: its key is all there is to tell it by.
fn of_tombstone(key: Option<&[u8]>, id: &Id) -> Result<Change, Failed> {
    let text = text_of(key)?;
    let id = match id {
        Id::Field(path) => {
            let last = path.last().map_or("", String::as_str);
            // A key that is an object has the field, any other is the field's value.
            match serde_json::from_str::<serde_json::Value>(text).map(Bson::try_from) {
                Ok(Ok(Bson::Document(fields))) => {
                    let found = find(&fields, path).or_else(|| fields.get(last)).cloned();
                    found.ok_or_else(|| {
                        reject("no-id", format!("the record's key has no `{last}`, which says what to delete"))
                    })?
                }
                Ok(Ok(
                    id @ (Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) | Bson::String(_) | Bson::ObjectId(_)),
                )) => id,
                _ => Bson::String(text.to_owned()),
            }
        }
        Id::Key | Id::Position => Bson::String(text.to_owned()),
    };
    Ok(Change { name: id.to_string(), id, what: What::Delete, size: size_of::<Change>() + text.len() })
}

fn text_of(key: Option<&[u8]>) -> Result<&str, Failed> {
    let key = key.ok_or_else(|| reject("no-key", "the record has no key to be told by"))?;
    std::str::from_utf8(key).map_err(|_| reject("key-not-text", "the record's key is not UTF-8"))
}

/// A value as a document. What MongoDB's own JSON says of types (`{"$date": …}`) holds.
fn read(value: &[u8]) -> Result<Document, Failed> {
    let json: serde_json::Value =
        serde_json::from_slice(value).map_err(|error| reject("not-json", format!("the value is not JSON: {error}")))?;
    match Bson::try_from(json) {
        Ok(Bson::Document(document)) => Ok(document),
        Ok(_) => Err(reject("not-an-object", "the value is no JSON object")),
        Err(error) => Err(reject("not-a-document", format!("the value is no document of MongoDB: {error}"))),
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
