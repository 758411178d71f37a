//! The table: its name, its columns, and the statements on it.

use super::{Mode, Settings};
use std::{collections::BTreeMap, fmt};

/// A table's name, as the manifest has it: `orders`, or `shop.orders`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    schema: Option<String>,
    name: String,
}

impl TableName {
    /// Reads one; upper and lower case are what they are.
    pub fn parse(text: &str) -> Option<TableName> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        let is_name = |name: &str| !name.is_empty() && name.len() <= 63 && !name.contains(['.', '\0']);
        (is_name(name) && schema.is_none_or(is_name))
            .then(|| TableName { schema: schema.map(str::to_owned), name: name.to_owned() })
    }

    /// As a statement has it.
    pub(super) fn sql(&self) -> String {
        let schema = self.schema.as_ref().map_or_else(String::new, |schema| identifier(schema) + ".");
        schema + &identifier(&self.name)
    }

    /// The table beside it that keeps how far sinks are.
    pub(super) fn progress(&self) -> TableName {
        TableName { schema: self.schema.clone(), name: "millstream_progress".to_owned() }
    }
}

/// As people write it.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        f.write_str(&self.name)
    }
}

/// A name as a statement has it.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A column that can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) of_type: String,
}

/// What a table is like.
pub(super) struct Table {
    name: TableName,
    columns: Vec<Column>,
    places: BTreeMap<String, usize>,
}

impl Table {
    pub(super) fn new(name: &TableName, columns: Vec<Column>) -> Table {
        let places = columns.iter().enumerate().map(|(place, column)| (column.name.clone(), place)).collect();
        Table { name: name.clone(), columns, places }
    }

    /// Whether these are all of its columns, and as they are.
    pub(super) fn has(&self, columns: &[Column]) -> bool {
        self.columns == columns
    }

    /// Whether it has all columns of another one in the same places.
    pub(super) fn goes_on(&self, other: &Table) -> bool {
        self.columns.starts_with(&other.columns)
    }

    /// The place of a column.
    pub(super) fn place(&self, column: &str) -> Option<usize> {
        self.places.get(column).copied()
    }

    pub(super) fn column(&self, place: usize) -> &Column {
        &self.columns[place]
    }

    /// What is wrong with it for a sink, if something is.
    pub(super) fn check(&self, settings: &Settings) -> Result<(), String> {
        let name = &self.name;
        if self.columns.is_empty() {
            return Err(format!("there is no table {name}: make it, or have it made by `create` in the sink"));
        }
        let written = settings.columns.iter().flatten().map(|(column, _)| column);
        match written.chain(&settings.key).find(|column| self.place(column).is_none()) {
            Some(column) => Err(format!(
                "the table {name} has no column {column} to write to: add it, or correct `columns` and `key` in the sink"
            )),
            None => Ok(()),
        }
    }

    /// Writes rows with these columns, given as JSON: an array of objects whose names are the columns' places.
    pub(super) fn insert(&self, columns: &[usize], settings: &Settings) -> String {
        let names: Vec<_> = columns.iter().map(|place| identifier(&self.columns[*place].name)).collect();
        let names = names.join(", ");
        let conflict = match settings.mode {
            Mode::Insert => String::new(),
            Mode::Upsert => {
                let is_key = |place: &&usize| settings.key.contains(&self.columns[**place].name);
                let others = columns.iter().filter(|place| !is_key(place));
                let set: Vec<_> = others
                    .map(|place| identifier(&self.columns[*place].name))
                    .map(|name| format!("{name} = EXCLUDED.{name}"))
                    .collect();
                let key: Vec<_> = settings.key.iter().map(|name| identifier(name)).collect();
                let action =
                    if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", set.join(", ")) };
                format!(" ON CONFLICT ({}) DO {action}", key.join(", "))
            }
        };
        let (values, rows) = (places(columns), self.rows(columns));
        format!("INSERT INTO {} ({names}) SELECT {values} FROM {rows}{conflict}", self.name.sql())
    }

    /// Removes the rows of these keys, given in the same way.
    pub(super) fn delete(&self, key: &[usize]) -> String {
        let same: Vec<_> =
            key.iter().map(|place| format!("t.{} = r.\"{place}\"", identifier(&self.columns[*place].name))).collect();
        format!("DELETE FROM {} AS t USING {} WHERE {}", self.name.sql(), self.rows(key), same.join(" AND "))
    }

    fn rows(&self, columns: &[usize]) -> String {
        let typed: Vec<_> =
            columns.iter().map(|place| format!("\"{place}\" {}", self.columns[*place].of_type)).collect();
        format!("json_to_recordset($1::json) AS r({})", typed.join(", "))
    }
}

fn places(columns: &[usize]) -> String {
    let places: Vec<_> = columns.iter().map(|place| format!("r.\"{place}\"")).collect();
    places.join(", ")
}

/// Makes a table with these columns.
pub(super) fn create(name: &TableName, columns: &[(String, String)], key: &[String]) -> String {
    let columns = columns.iter().map(|(column, of_type)| format!("{} {of_type}", identifier(column)));
    let key: Vec<_> = key.iter().map(|column| identifier(column)).collect();
    let key = (!key.is_empty()).then(|| format!("PRIMARY KEY ({})", key.join(", ")));
    let lines: Vec<_> = columns.chain(key).collect();
    format!("CREATE TABLE IF NOT EXISTS {} ({})", name.sql(), lines.join(", "))
}

/// Makes the table that keeps how far sinks are.
pub(super) fn create_progress(name: &TableName) -> String {
    let name = name.sql();
    format!(
        "CREATE TABLE IF NOT EXISTS {name} (sink_group text, topic text, partition integer, next_offset bigint NOT NULL, \
         updated_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (sink_group, topic, partition)); \
         ALTER TABLE {name} ADD COLUMN IF NOT EXISTS birth text"
    )
}
