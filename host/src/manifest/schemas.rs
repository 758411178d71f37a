//! What topics say of their schemas, and where a registry is: as written, and checked.

use super::{
    check::Surroundings,
    checked,
    properties::{self, read},
    report::Diagnostic,
    secrets::starred,
    shapes::{Named, Spanned},
    values::Property,
    wires::Wire,
    written,
};
use crate::schemas::{Language, Written};
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;

/// The registry of the topics' schemas. Who lets in by a name takes `user` and `password`, others a `token`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a mapping such as `{url: http://localhost:8081}`")]
pub(super) struct SchemaRegistry {
    /// Where it is, such as `https://registry.example.com`.
    url: Spanned<String>,
    /// The name that it knows.
    user: Option<Spanned<String>>,
    /// The password that belongs to it. It may lie in a file: `{file: PATH}`.
    password: Option<Property>,
    /// A bearer token, in place of a name. It may lie in a file: `{file: PATH}`.
    token: Option<Property>,
    /// The file of certificates that vouch for it, beside those that the system trusts.
    ca: Option<Spanned<String>>,
    /// The file of the certificate that it wants to see, with those that vouch for it.
    certificate: Option<Spanned<String>>,
    /// The file of that certificate's key.
    key: Option<Spanned<String>>,
    /// Whether schemas that are not there are registered. Default: missing.
    register: Option<Register>,
}

/// Whether a schema that is not there is registered.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Register {
    /// One that is missing is.
    Missing,
    /// Nothing is: it has to be there.
    Never,
}

/// The schema of a topic's values, or of its keys: one of these.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a mapping such as `{avro: schemas/order.avsc}`")]
pub(super) struct TopicSchema {
    /// The file of an Avro schema, seen from the manifest's folder.
    avro: Option<Spanned<String>>,
    /// The file of a JSON Schema, seen from the manifest's folder.
    json_schema: Option<Spanned<String>>,
    /// The latest schema that the registry has under this subject.
    subject: Option<Spanned<String>>,
    /// There is none of these here.
    #[schemars(skip)]
    protobuf: Option<Spanned<String>>,
    /// Whether it is registered when it is not there. Default: as `schema-registry` says, and else missing.
    register: Option<Register>,
}

/// What a module sees of records that have a schema.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Values {
    /// The bytes that they are.
    Raw,
    /// What they say, as JSON; what comes back is JSON, and written with the schema of its topic.
    Json,
}

impl From<Register> for checked::Register {
    fn from(written: Register) -> Self {
        match written {
            Register::Missing => checked::Register::Missing,
            Register::Never => checked::Register::Never,
        }
    }
}

impl Surroundings<'_> {
    pub(super) fn schema_registry(&self, written: Option<&Spanned<SchemaRegistry>>) -> Option<checked::SchemaRegistry> {
        let SchemaRegistry { url, user, password, token, ca, certificate, key, register } = &written?.value;
        // A variable that is not set: there is none, as with a pipeline that runs on an embedded log today.
        if url.value.is_empty() {
            return None;
        }
        let is_url = ["http://", "https://"].iter().any(|scheme| {
            url.value.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', ':']))
        });
        let is_sound = is_url && !url.value.contains(['?', '#']) && url.value.parse::<http::Uri>().is_ok();
        if url.value.contains('@') {
            self.findings.mistake(&url.at, || {
                let way_out = "write `user` and `password` beside the `url`";
                ("a name and a password do not belong into the URL".to_owned(), way_out.to_owned())
            });
        } else if !is_sound {
            self.findings.mistake(&url.at, || {
                let what = format!("{} is no URL of a schema registry", url.shown());
                (what, "write something like `url: http://localhost:8081`".to_owned())
            });
        }
        let at = |key: &str| Some(self.places.of(&["schema-registry", key]));
        let mistake = |key: &str, what: &str, way_out: &str| {
            self.findings.mistake(&at(key), || (what.to_owned(), way_out.to_owned()));
        };
        match (user, password, token) {
            (Some(_), _, Some(_)) => {
                mistake("token", "there is a `user` already", "write a `user` or a `token`, not both")
            }
            (Some(_), None, None) => mistake("user", "there is no `password` for this `user`", "add a `password`"),
            (None, Some(_), _) => mistake("password", "there is no `user` for this `password`", "add a `user`"),
            _ => {}
        }
        match (certificate, key) {
            (Some(_), None) => mistake("certificate", "a certificate is of no use without its key", "add a `key`"),
            (None, Some(_)) => mistake("key", "there is no `certificate` for this `key`", "add a `certificate`"),
            _ => {}
        }
        if url.value.starts_with("http://") {
            let files = [("ca", ca), ("certificate", certificate), ("key", key)];
            for (name, _) in files.iter().filter(|(_, file)| file.is_some()) {
                mistake(name, "it is of no use with `http://`", "write `url: https://…`, or leave it out");
            }
        }
        let secret = |value: &Option<Property>| properties::secret(value.as_ref()?, self.folder, self.findings);
        let file = |path: &Option<Spanned<String>>| {
            let path = path.as_ref()?;
            let value = self.folder.join(PathBuf::from(&path.value));
            if let (Err(error), Some(at)) = (read(&value), &path.at) {
                let (message, help) = properties::describe(path, &error);
                self.findings.add(Diagnostic::absence(at.clone(), message).help(help));
            }
            Some(value)
        };
        Some(checked::SchemaRegistry {
            url: url.value.clone(),
            user: user.as_ref().map(|user| user.value.clone()),
            password: secret(password),
            token: secret(token),
            ca: file(ca),
            certificate: file(certificate),
            key: file(key),
            register: register.map(Into::into).unwrap_or_default(),
        })
    }

    /// The schema of a topic's values, or keys; `registry` is there, and `is_needed` without an embedded log.
    pub(super) fn topic_schema(
        &self,
        written: Option<&Spanned<TopicSchema>>,
        registry: Option<&checked::SchemaRegistry>,
        is_needed: bool,
    ) -> Option<checked::TopicSchema> {
        let schema = written?;
        let TopicSchema { avro, json_schema, subject, protobuf, register } = &schema.value;
        let register = register.map(Into::into).or(registry.map(|registry| registry.register)).unwrap_or_default();
        if let Some(protobuf) = protobuf {
            self.findings.mistake(&protobuf.at, || {
                let way_out = "write `avro: …`, `json-schema: …` or `subject: …`, or leave the values raw";
                ("Protobuf is not supported".to_owned(), way_out.to_owned())
            });
            return None;
        }
        let source = match (avro, json_schema, subject) {
            (Some(path), None, None) => self.schema_file(path, Language::Avro)?,
            (None, Some(path), None) => self.schema_file(path, Language::Json)?,
            (None, None, Some(subject)) => {
                if registry.is_none() && !is_needed {
                    self.findings.mistake(&subject.at, || {
                        let what = format!("there is no registry that could have {}", subject.shown());
                        (what, "add `schema-registry: {url: …}`, or name a file: `avro: …`".to_owned())
                    });
                }
                checked::SchemaSource::Subject(subject.value.clone())
            }
            _ => {
                self.findings.mistake(&schema.at, || {
                    let what = "a schema is one of `avro`, `json-schema` and `subject`";
                    (what.to_owned(), "write one of them, such as `avro: schemas/order.avsc`".to_owned())
                });
                return None;
            }
        };
        if is_needed && registry.is_none() {
            self.findings.mistake(&schema.at, || {
                let way_out = "add `schema-registry: {url: http://localhost:8081}` beside `kafka`";
                ("on a Kafka a schema needs a registry".to_owned(), way_out.to_owned())
            });
        }
        Some(checked::TopicSchema { source, register })
    }

    fn schema_file(&self, path: &Spanned<String>, language: Language) -> Option<checked::SchemaSource> {
        let at = path.at.clone()?;
        let text = match read(&self.folder.join(PathBuf::from(&path.value))) {
            Ok(text) => text,
            Err(error) => {
                let (message, help) = properties::describe(path, &error);
                self.findings.add(Diagnostic::mistake(at, message).help(help));
                return None;
            }
        };
        let written = Written::new(language, &text);
        if let Err(why) = written.check() {
            let shown = starred(&path.written, &[]);
            let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
            // That comes with a page of how names are spelled.
            let why = why.split(". It must match the regex").next().unwrap_or_default();
            let message = format!("{shown} is no schema in {language}: {why}");
            self.findings.add(Diagnostic::mistake(at, message));
            return None;
        }
        Some(checked::SchemaSource::Text(written))
    }

    /// Whether values are decoded; that some have a schema is part of it.
    pub(super) fn values(
        &self,
        written: Option<&Spanned<Values>>,
        wires: [&[Wire]; 2],
        topics: &Named<Option<written::Topic>>,
    ) -> bool {
        let Some(values) = written else { return false };
        if matches!(values.value, Values::Raw) {
            return false;
        }
        let has_schema = |wire: &&Wire| {
            let topic = topics.iter().find(|(name, _)| name.value == wire.topic.value);
            topic
                .and_then(|(_, topic)| topic.as_ref())
                .is_some_and(|topic| topic.value.is_some() || topic.key.is_some())
        };
        let wires: Vec<_> = wires.into_iter().flatten().collect();
        let is_known = !wires.is_empty() && wires.iter().all(|wire| wire.topic.at.is_some());
        if is_known && !wires.iter().any(has_schema) && !self.findings.is_cut_off() {
            self.findings.mistake(&values.at, || {
                let way_out = format!(
                    "give one a schema under `topics`: `{}: {{value: {{avro: FILE}}}}`, or leave `values` out",
                    wires[0].topic.value
                );
                ("none of its topics has a schema".to_owned(), way_out)
            });
        }
        true
    }
}
