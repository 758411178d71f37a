//! Where a sink's records go: as it is written, and what is made of it.

use super::{
    check::Surroundings,
    measure::Count,
    names::Wrong,
    properties,
    report::Span,
    shapes::{Many, Named, Spanned},
    values::Property,
    written,
};
use crate::{
    lines::OutputFormat,
    sinks::{Into as Target, Mode, OnTombstone, Place, mongodb, postgres},
    text::nearest,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

/// A table of PostgreSQL, 12 or later.
#[derive(Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a mapping such as `{url: \"${PG}\", table: orders}`"
)]
pub(super) struct Postgres {
    /// How the server is reached: `postgres://USER:PASSWORD@HOST:5432/DATABASE`. It may lie in a file:
    /// `{file: PATH}`.
    url: Spanned<Property>,
    /// The table: `orders`, or `shop.orders`.
    table: Spanned<String>,
    /// The columns that are written, each with what goes there: `value.FIELD`, `value`, `key`, `topic`, `partition`,
    /// `offset`, `timestamp` or `headers`. Default: each field of the value goes to the column of its name.
    columns: Option<Named<Spanned<String>>>,
    /// Whether rows are added (`insert`, the default), or take the place of those of the same key (`upsert`).
    mode: Option<WrittenMode>,
    /// The columns that tell rows apart: a unique index is over just these.
    key: Option<Spanned<Many<Spanned<String>>>>,
    /// What becomes of a record without a value. Default: `delete` with `upsert`, else `reject`.
    on_tombstone: Option<Spanned<WrittenOnTombstone>>,
    /// The columns that the table is made with when it is missing, each with its type.
    create: Option<Named<Spanned<String>>>,
}

/// A collection of MongoDB, 4.4 or later.
#[derive(Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a mapping such as `{uri: \"${MONGO}\", database: shop, collection: orders}`"
)]
pub(super) struct Mongodb {
    /// How the servers are reached: `mongodb://USER:PASSWORD@HOST:27017`. It may lie in a file: `{file: PATH}`.
    uri: Spanned<Property>,
    /// The database.
    database: Spanned<String>,
    /// The collection.
    collection: Spanned<String>,
    /// Whether documents are added (`insert`, the default), or take the place of those of the same `_id` (`upsert`).
    mode: Option<WrittenMode>,
    /// What becomes the document's `_id`: the record's `position` (the default), its `key`, or a field of its value,
    /// `value.FIELD`.
    id: Option<Spanned<String>>,
    /// What becomes of a record without a value. Default: `delete` with `upsert` by key or field, else `reject`.
    on_tombstone: Option<Spanned<WrittenOnTombstone>>,
}

/// Whether records are added, or take the place of others.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Mode")]
enum WrittenMode {
    /// They are added.
    Insert,
    /// They take the place of what is there of the same key.
    Upsert,
}

/// What becomes of a record without a value.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "OnTombstone")]
enum WrittenOnTombstone {
    /// What there is of its key is removed.
    Delete,
    /// Nothing, and it counts as done.
    Skip,
    /// It fails.
    Reject,
}

impl From<WrittenMode> for Mode {
    fn from(written: WrittenMode) -> Mode {
        match written {
            WrittenMode::Insert => Mode::Insert,
            WrittenMode::Upsert => Mode::Upsert,
        }
    }
}

impl From<WrittenOnTombstone> for OnTombstone {
    fn from(written: WrittenOnTombstone) -> OnTombstone {
        match written {
            WrittenOnTombstone::Delete => OnTombstone::Delete,
            WrittenOnTombstone::Skip => OnTombstone::Skip,
            WrittenOnTombstone::Reject => OnTombstone::Reject,
        }
    }
}

impl Surroundings<'_> {
    /// Where a sink's records go; made up, when that is wrong.
    pub(super) fn into(&self, name: &Spanned<String>, written: &written::Sink) -> Target {
        let written::Sink { stdout, postgres, mongodb, .. } = written;
        let given =
            [stdout.as_ref().map(|to| &to.at), postgres.as_ref().map(|to| &to.at), mongodb.as_ref().map(|to| &to.at)];
        match given.iter().flatten().count() {
            1 => {}
            0 if self.findings.is_cut_off() => {}
            0 => self.findings.mistake(&name.at, || {
                let way_out = "add `stdout: {}`, `postgres: {url: …, table: …}`, or `mongodb: {uri: …, database: …, \
                               collection: …}`";
                (format!("`{}` does not say where its records go", name.value), way_out.to_owned())
            }),
            _ => {
                let last = given.iter().flatten().next_back().and_then(|at| (*at).clone());
                self.findings.mistake(&last, || {
                    let what = format!("`{}` goes to more than one place", name.value);
                    (what, "write a sink for each: they read the same input".to_owned())
                });
            }
        }
        let made_up = Target::Stdout(OutputFormat::default());
        match (postgres, mongodb, stdout) {
            (Some(postgres), ..) => self.postgres(&postgres.value).map_or(made_up, |to| Target::Postgres(Arc::new(to))),
            (_, Some(mongodb), _) => self.mongodb(&mongodb.value).map_or(made_up, |to| Target::Mongodb(Arc::new(to))),
            (.., Some(stdout)) => Target::Stdout(stdout.value.format.map(Into::into).unwrap_or_default()),
            _ => made_up,
        }
    }

    /// What has no meaning for one that prints.
    pub(super) fn not_for_stdout(&self, name: &Spanned<String>, written: &written::Sink) {
        let written::Sink { stdout: Some(_), workers, commit_interval, on_error, dead_letter, .. } = written else {
            return;
        };
        let given: [(&str, Option<&Option<Span>>); 4] = [
            ("workers", workers.as_ref().map(|it: &Spanned<Count<1, 64>>| &it.at)),
            ("commit-interval", commit_interval.as_ref().map(|it| &it.at)),
            ("on-error", on_error.as_ref().map(|it| &it.at)),
            ("dead-letter", dead_letter.as_ref().map(|it| &it.at)),
        ];
        for (key, at) in given.into_iter().filter_map(|(key, at)| Some((key, at?))) {
            self.findings.mistake(at, || {
                (format!("`{key}` is of no use here: `{}` prints", name.value), "remove it".to_owned())
            });
        }
    }

    fn postgres(&self, written: &Postgres) -> Option<postgres::Settings> {
        let server = self.connection(&written.url, postgres::Server::parse, "postgres://USER@HOST:5432/DATABASE");
        let table = postgres::TableName::parse(&written.table.value);
        if table.is_none() {
            self.findings.mistake(&written.table.at, || {
                let what = format!("{} is no name of a table", written.table.shown());
                (what, "write `table: orders`, or `table: SCHEMA.orders`".to_owned())
            });
        }
        let columns = written.columns.as_ref().map(|columns| self.columns(columns));
        let mode: Mode = written.mode.map_or(Mode::Insert, Into::into);
        let key: Vec<_> = written.key.iter().flat_map(|key| &key.value.0).collect();
        let on_tombstone = match &written.on_tombstone {
            Some(written) => written.value.into(),
            None if mode == Mode::Upsert => OnTombstone::Delete,
            None => OnTombstone::Reject,
        };
        let needs_key = match (mode, on_tombstone) {
            (Mode::Upsert, _) => Some("mode: upsert"),
            (_, OnTombstone::Delete) => Some("on-tombstone: delete"),
            _ => None,
        };
        if let Some(needs) = needs_key.filter(|_| key.is_empty()) {
            self.findings.mistake(&written.table.at, || {
                let what = format!("`{needs}` needs to know what tells the rows of {} apart", written.table.shown());
                (what, "add `key: [COLUMN]`, the columns of a unique index".to_owned())
            });
        }
        let names =
            |named: &Named<Spanned<String>>| named.iter().map(|(name, _)| name.value.clone()).collect::<Vec<_>>();
        let lists = [("columns", written.columns.as_ref().map(names)), ("create", written.create.as_ref().map(names))];
        for (list, known) in lists.iter().filter_map(|(list, known)| Some((list, known.as_ref()?))) {
            for column in key.iter().filter(|column| !known.contains(&column.value)) {
                self.findings.mistake(&column.at, || {
                    let what = format!("{} is a part of the key, and not among `{list}`", column.shown());
                    (what, format!("add it to `{list}`"))
                });
            }
        }
        if let (Some(columns), (_, Some(known))) = (&written.columns, &lists[1]) {
            for (column, _) in columns.iter().filter(|(column, _)| !known.contains(&column.value)) {
                self.findings.mistake(&column.at, || {
                    (format!("{} is not among `create`", column.shown()), "add it there, with its type".to_owned())
                });
            }
        }
        for (_, of_type) in written.create.iter().flat_map(Named::iter) {
            self.not_empty("a column's type", of_type, "bigint");
        }
        Some(postgres::Settings {
            server: server?,
            table: table?,
            columns: match columns {
                Some(columns) => Some(columns?),
                None => None,
            },
            mode,
            key: key.into_iter().map(|column| column.value.clone()).collect(),
            on_tombstone,
            create: written.create.as_ref().map(|create| {
                create.iter().map(|(column, of_type)| (column.value.clone(), of_type.value.clone())).collect()
            }),
        })
    }

    /// What goes to each column; nothing, when one of them is wrong.
    fn columns(&self, written: &Named<Spanned<String>>) -> Option<Vec<(String, Place)>> {
        let mut columns = Vec::new();
        for (column, from) in written.iter() {
            match from.value.parse::<Place>() {
                Ok(place) => columns.push((column.value.clone(), place)),
                Err(()) => self.findings.mistake(&from.at, || no_place(from)),
            }
        }
        (columns.len() == written.0.len()).then_some(columns)
    }

    fn mongodb(&self, written: &Mongodb) -> Option<mongodb::Settings> {
        let uri = self.connection(
            &written.uri,
            |uri| mongodb::check_uri(uri).map(|()| uri.to_owned()),
            "mongodb://USER@HOST:27017",
        );
        for (key, name) in [("database", &written.database), ("collection", &written.collection)] {
            self.not_empty(key, name, "orders");
            if name.value.contains(['$', '\0'])
                || (key == "database" && name.value.contains(['/', '\\', '.', ' ', '"']))
            {
                self.findings.mistake(&name.at, || {
                    let what = format!("{} is no name of a {key} of MongoDB", name.shown());
                    (what, "use letters, digits, `_` and `-`".to_owned())
                });
            }
        }
        let mode: Mode = written.mode.map_or(Mode::Insert, Into::into);
        let id = match &written.id {
            None => Some(mongodb::Id::Position),
            Some(id) => mongodb::Id::parse(&id.value),
        };
        if let (None, Some(id)) = (&id, &written.id) {
            self.findings.mistake(&id.at, || {
                let what = format!("{} is nothing that can be an `_id`", id.shown());
                (what, "write `key`, `position`, or a field of the value: `value.order_id`".to_owned())
            });
        }
        let by_position = id == Some(mongodb::Id::Position);
        let on_tombstone = match &written.on_tombstone {
            Some(written) => written.value.into(),
            None if mode == Mode::Upsert && !by_position => OnTombstone::Delete,
            None => OnTombstone::Reject,
        };
        if let Some(written) =
            written.on_tombstone.as_ref().filter(|_| by_position && on_tombstone == OnTombstone::Delete)
        {
            self.findings.mistake(&written.at, || {
                let what = "a tombstone has another position than what it is to delete".to_owned();
                (what, "tell documents apart by `id: key`, or by a field of the value".to_owned())
            });
        }
        Some(mongodb::Settings {
            uri: uri?.into(),
            database: written.database.value.clone(),
            collection: written.collection.value.clone(),
            mode,
            id: id?,
            on_tombstone,
        })
    }

    /// How a database is reached. What is wrong with that is said without a word of it.
    fn connection<T>(
        &self,
        written: &Spanned<Property>,
        parse: impl Fn(&str) -> Result<T, &'static str>,
        form: &str,
    ) -> Option<T> {
        let at = written.at.as_ref()?;
        let secret = properties::secret(&written.value, self.folder, self.findings)?;
        match parse(secret.reveal()) {
            Ok(parsed) => Some(parsed),
            Err(why) => {
                self.findings.mistake(&Some(at.clone()), || {
                    (why.to_owned(), format!("write something like `{form}`, best in a variable: `\"${{DB}}\"`"))
                });
                None
            }
        }
    }
}

fn no_place(written: &Spanned<String>) -> Wrong {
    let near = nearest(&written.value, Place::WORDS).map(|near| format!("did you mean `{near}`?"));
    let what = format!("{} is no part of a record", written.shown());
    let field =
        || format!("write `value.{}` for a field of the value; or one of {}", written.value, Place::WORDS.join(", "));
    (what, near.unwrap_or_else(field))
}
