//! What a record changes in the table, and the statements that make many such changes.

use super::{OnTombstone, Settings, table::Table};
use crate::{
    record::Header,
    sinks::{
        Place,
        fields::{Fields, quoted, unquoted},
        reject, tombstone,
    },
    stage::guest::{Failed, InHand},
    transport::{Incoming, Partition},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::{json, value::RawValue};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

/// The code of a record that has a field without a column.
const NO_COLUMN: &str = "no-column";

/// What a record changes: a row, as JSON whose names are the places of its columns.
pub(super) struct Change {
    pub(super) partition: Partition,
    kind: Kind,
    row: String,
    /// What tells the row apart, where that is known.
    key: Option<String>,
}

/// Changes of one kind can be made by one statement.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The row is written, with these columns.
    Write(Vec<usize>),
    /// It is removed.
    Delete,
}

impl Change {
    /// What it takes in memory, about.
    pub(super) fn size(&self) -> usize {
        size_of::<Change>() + self.row.len() + self.key.as_ref().map_or(0, String::len)
    }
}

/// True for a record with a field that the table has no column for.
pub(super) fn is_unknown_column(failed: &Failed) -> bool {
    failed.reason().code.as_deref() == Some(NO_COLUMN)
}

/// Whether the server says that a value is none of its column's type.
pub(super) fn may_not_fit(failed: &Failed) -> bool {
    failed.reason().code.as_deref().is_some_and(|code| code.starts_with("22"))
}

/// What a record changes; nothing, when it is a tombstone that is to be passed over.
pub(super) fn of(
    in_hand: &InHand<'_>,
    table: &Table,
    settings: &Settings,
    inputs: &[String],
) -> Result<Option<Change>, Failed> {
    let record = Record { in_hand, inputs };
    let partition = in_hand.record.partition;
    let Some(value) = in_hand.record.value else {
        return match settings.on_tombstone {
            OnTombstone::Delete => record.delete(table, settings).map(Some),
            OnTombstone::Skip => Ok(None),
            OnTombstone::Reject => Err(tombstone()),
        };
    };
    let row = match &settings.columns {
        None => of_fields(&Fields::of_value(value)?, table)?,
        Some(columns) => record.of_columns(value, columns, table)?,
    };
    if row.0.is_empty() {
        return Err(reject("empty", "the value has no field that goes to a column"));
    }
    let mut key = (!settings.key.is_empty()).then(String::new);
    for column in &settings.key {
        let place = table.place(column);
        let json = place.and_then(|place| row.get(place)).filter(|json| *json != "null");
        let Some(json) = json else {
            let from = settings.columns.iter().flatten().find(|(name, _)| name == column);
            let from = from
                .map_or_else(|| format!("the value has no `{column}`"), |(_, from)| format!("there is no `{from}`"));
            return Err(reject("no-key", format!("{from}, which is a part of the key")));
        };
        if let (Some(key), Some(place)) = (&mut key, place) {
            key.push_str(&same(json, &table.column(place).of_type));
            key.push('\n');
        }
    }
    let columns = row.0.iter().map(|(place, _)| *place).collect();
    Ok(Some(Change { partition, kind: Kind::Write(columns), row: row.json(), key }))
}

/// Columns by their places, in order, each with its value as JSON.
struct Row<'a>(Vec<(usize, Cow<'a, str>)>);

impl<'a> Row<'a> {
    /// Of a column that comes twice, the last one counts.
    fn new(mut cells: Vec<(usize, Cow<'a, str>)>) -> Row<'a> {
        cells.reverse();
        cells.sort_by_key(|(place, _)| *place);
        cells.dedup_by_key(|(place, _)| *place);
        Row(cells)
    }

    fn get(&self, place: usize) -> Option<&str> {
        let found = self.0.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        Some(&self.0[found].1)
    }

    fn json(&self) -> String {
        let mut text = String::with_capacity(2 + self.0.iter().map(|(_, json)| json.len() + 8).sum::<usize>());
        for (place, json) in &self.0 {
            text.push(if text.is_empty() { '{' } else { ',' });
            text.push('"');
            text.push_str(&place.to_string());
            text.push_str("\":");
            text.push_str(json);
        }
        text.push('}');
        text
    }
}

/// Each field goes to the column of its name.
fn of_fields<'a>(fields: &Fields<'a>, table: &Table) -> Result<Row<'a>, Failed> {
    let cells = fields.iter().map(|(name, json): (&str, &'a RawValue)| match table.place(name) {
        Some(place) => Ok((place, json.get().into())),
        None => Err(reject(NO_COLUMN, format!("the table has no column for the field `{name}`"))),
    });
    cells.collect::<Result<_, _>>().map(Row::new)
}

/// A record on its way to the table.
struct Record<'a> {
    in_hand: &'a InHand<'a>,
    inputs: &'a [String],
}

impl Record<'_> {
    /// Each column has what the manifest says.
    fn of_columns<'v>(&self, value: &'v [u8], columns: &[(String, Place)], table: &Table) -> Result<Row<'v>, Failed> {
        let has_fields = columns.iter().any(|(_, from)| matches!(from, Place::Field(_)));
        let fields = if has_fields { Some(Fields::of_value(value)?) } else { None };
        let mut cells = Vec::with_capacity(columns.len());
        for (column, from) in columns {
            let Some(place) = table.place(column) else {
                return Err(reject(NO_COLUMN, format!("the table has no column `{column}`")));
            };
            match from {
                Place::Field(path) => {
                    cells.extend(fields.as_ref().and_then(|fields| fields.find(path)).map(|json| (place, json.into())));
                }
                Place::Value => {
                    let json: &RawValue = serde_json::from_slice(value)
                        .map_err(|error| reject("not-json", format!("the value is not JSON: {error}")))?;
                    cells.push((place, json.get().into()));
                }
                _ => cells.push((place, self.around(from, &table.column(place).of_type)?.into())),
            }
        }
        Ok(Row::new(cells))
    }

    /// What a record is beside its value, as JSON for a column of this type.
    fn around(&self, from: &Place, of_type: &str) -> Result<String, Failed> {
        let InHand { batch, index, record: Incoming { key, timestamp, .. }, .. } = self.in_hand;
        let (partition, offset) = batch.origin(*index);
        Ok(match from {
            Place::Key => match key {
                Some(key) => quoted(text_of(key)?),
                None => "null".to_owned(),
            },
            Place::Topic => quoted(&self.inputs[partition.input]),
            Place::Partition => partition.number.to_string(),
            Place::Offset => offset.0.to_string(),
            Place::Timestamp => match timestamp.map(|ms| (ms, Timestamp::from_millisecond(ms))) {
                // A column for a time reads one, any other has the milliseconds.
                Some((_, Ok(time))) if is_time(of_type) => quoted(&time.to_string()),
                Some((ms, _)) => ms.to_string(),
                None => "null".to_owned(),
            },
            Place::Headers => headers(&batch.headers(*index)),
            Place::Value | Place::Field(_) => "null".to_owned(),
        })
    }

    /// The row that a tombstone removes: its key is all there is to tell it by.
    fn delete(&self, table: &Table, settings: &Settings) -> Result<Change, Failed> {
        let InHand { record, .. } = self.in_hand;
        let key = match record.key {
            Some(key) => text_of(key)?,
            None => return Err(reject("no-key", "the record has no value, and no key that says what to delete")),
        };
        let fields = Fields::of_key(key);
        let mut cells = Vec::new();
        let mut identity = String::new();
        for column in &settings.key {
            let Some(place) = table.place(column) else {
                return Err(reject(NO_COLUMN, format!("the table has no column `{column}`")));
            };
            let from = settings.columns.iter().flatten().find(|(name, _)| name == column).map(|(_, from)| from);
            let json = match (from, &fields) {
                (Some(from), _) if !matches!(from, Place::Field(_) | Place::Value) => {
                    self.around(from, &table.column(place).of_type)?
                }
                (from, Some(fields)) => {
                    let path = match from {
                        Some(Place::Field(path)) => path.last(),
                        _ => None,
                    };
                    let found = fields.get(column).or_else(|| fields.get(path?)).filter(|json| *json != "null");
                    let why =
                        || reject("no-key", format!("the record's key has no `{column}`, which says what to delete"));
                    found.ok_or_else(why)?.to_owned()
                }
                (_, None) if settings.key.len() == 1 => quoted(key),
                (_, None) => {
                    let all = settings.key.join("`, `");
                    return Err(reject("no-key", format!("the record's key is no JSON object with `{all}`")));
                }
            };
            identity.push_str(&same(&json, &table.column(place).of_type));
            identity.push('\n');
            cells.push((place, json.into()));
        }
        Ok(Change { partition: record.partition, kind: Kind::Delete, row: Row::new(cells).json(), key: Some(identity) })
    }
}

/// A key's value in a form that is the same for the same row, as far as that can be told here.
fn same(json: &str, of_type: &str) -> String {
    let text = unquoted(json);
    match of_type {
        "smallint" | "integer" | "bigint" => text.trim().parse::<i64>().map_or(text, |number| number.to_string()),
        "uuid" => text.chars().filter(char::is_ascii_hexdigit).collect::<String>().to_ascii_lowercase(),
        _ => text,
    }
}

/// True when [`same`] can tell whether two values of a key are one.
fn is_told(of_type: &str) -> bool {
    matches!(of_type, "smallint" | "integer" | "bigint" | "uuid" | "text") || of_type.starts_with("character varying")
}

fn is_time(of_type: &str) -> bool {
    of_type.starts_with("timestamp") || of_type == "date"
}

fn text_of(key: &[u8]) -> Result<&str, Failed> {
    std::str::from_utf8(key).map_err(|_| reject("key-not-text", "the record's key is not UTF-8"))
}

/// As `consume --format json` has them.
fn headers(headers: &[Header]) -> String {
    let value = |value: &[u8]| match std::str::from_utf8(value) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": BASE64_STANDARD.encode(value) }),
    };
    let all: Vec<_> = headers.iter().map(|header| json!([header.name, header.value.as_deref().map(value)])).collect();
    json!(all).to_string()
}

/// The statements that make these changes, each with its rows. What changes one row more than once comes in turns: a
/// statement touches no row twice, and the order stays.
pub(super) fn statements(changes: &[Change], table: &Table, settings: &Settings) -> Vec<(String, String)> {
    let key: Vec<_> = settings.key.iter().filter_map(|column| table.place(column)).collect();
    // Where it cannot be told here which rows are one, none is changed in the same turn by what is of another kind. (Two
    // writes of one row in one statement the database finds, and they are tried one by one.)
    let is_told = key.iter().all(|place| is_told(&table.column(*place).of_type));
    let (mut first, mut before) = (0, None);
    let mut turns: HashMap<&str, usize> = HashMap::new();
    let mut groups: BTreeMap<(usize, &Kind), String> = BTreeMap::new();
    for change in changes {
        if !is_told && before.replace(&change.kind).is_some_and(|before| *before != change.kind) {
            first = groups.keys().next_back().map_or(0, |(turn, _)| turn + 1);
        }
        let turn = match &change.key {
            Some(key) => {
                let turn = turns.entry(key).and_modify(|turn| *turn = first.max(*turn + 1)).or_insert(first);
                *turn
            }
            None => first,
        };
        let rows = groups.entry((turn, &change.kind)).or_default();
        rows.push(if rows.is_empty() { '[' } else { ',' });
        rows.push_str(&change.row);
    }
    let statement = |((_, kind), rows): ((usize, &Kind), String)| {
        let statement = match kind {
            Kind::Write(columns) => table.insert(columns, settings),
            Kind::Delete => table.delete(&key),
        };
        (statement, rows + "]")
    };
    groups.into_iter().map(statement).collect()
}
