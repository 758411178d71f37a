//! `on-error`: one word for every kind of failure, or a mapping that tells them apart.

use super::{
    check::Surroundings,
    checked,
    measure::{Count, Millis},
    report::Diagnostic,
    shapes::Spanned,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, IntoDeserializer, MapAccess, Visitor, value::MapAccessDeserializer},
};
use std::{borrow::Cow, fmt, marker::PhantomData, time::Duration};

/// The longest delay, and the longest time for which a record is tried again: an hour and thirty days.
const HOUR: u64 = 3_600_000;
const MONTH: u64 = 30 * 24 * HOUR;
/// The most records that the breaker looks back over.
const WINDOW: u64 = 1_000_000;

/// What becomes of a record that failed for good.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Policy {
    /// It goes to the topic of dead letters, with the reason.
    DeadLetter,
    /// It is passed over, and counted.
    Skip,
    /// The stage stops before it.
    Stop,
}

/// By what made a record fail. What is not written is a dead letter.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ByKind {
    /// The module rejected it. Default: dead-letter.
    reject: Option<Policy>,
    /// The module failed: it said so, or it crashed, also alone on a fresh instance. Default: dead-letter.
    fault: Option<Policy>,
    /// It cost more than the stage's limits allow. Default: dead-letter.
    limit: Option<Policy>,
    /// It is not what the schema of its topic says. Default: as `reject`.
    decode: Option<Policy>,
    /// What the module makes of it is not what the schema of its topic says. Default: as `fault`.
    encode: Option<Policy>,
    /// What is done when the module asks for the record again.
    retry: Option<Retry>,
    /// When so many of the last records died that the stage itself is to stop.
    stop_when: Option<WordOr<Never, StopWhen>>,
}

/// What is done when the module asks for a record again later. Its partition waits meanwhile.
#[derive(Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a mapping such as `{for: 15m, then: dead-letter}`"
)]
struct Retry {
    /// The first delay, from `1ms` to `1h`; each further one is twice as long. Default: `100ms`.
    backoff: Option<Millis<1, HOUR>>,
    /// The longest delay, from `1ms` to `1h`. Default: `10s`.
    max_backoff: Option<Spanned<Millis<1, HOUR>>>,
    /// How long a record is tried again, up to `720h`. Default: `15m`.
    r#for: Option<Millis<0, MONTH>>,
    /// What becomes of it then. Default: stop.
    then: Option<Policy>,
}

/// When most of a stage's records die.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct StopWhen {
    /// So many dead letters.
    dead_letters: Spanned<Count<1, WINDOW>>,
    /// Among so many records, the latest ones.
    of: Count<1, WINDOW>,
}

/// The stage goes on, however many of its records die.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Never {
    /// However many die.
    Never,
}

/// All of `on-error`.
pub(super) type OnError = WordOr<Policy, ByKind>;

/// A word, or a mapping that says more.
pub(super) enum WordOr<Word, Mapping> {
    Word(Word),
    Mapping(Box<Mapping>),
}

/// Which words and mappings belong together.
pub(super) trait Form {
    /// What may stand here.
    const EXPECTED: &'static str;
}

impl Form for ByKind {
    const EXPECTED: &'static str =
        "`dead-letter`, `skip`, `stop`, or a mapping such as `{fault: stop, reject: dead-letter}`";
}

impl Form for StopWhen {
    const EXPECTED: &'static str = "`never`, or a mapping such as `{dead-letters: 100, of: 1000}`";
}

impl<'d, W: Deserialize<'d>, M: Deserialize<'d> + Form> Deserialize<'d> for WordOr<W, M> {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<W, M>(PhantomData<(W, M)>);
        impl<'d, W: Deserialize<'d>, M: Deserialize<'d> + Form> Visitor<'d> for Visit<W, M> {
            type Value = WordOr<W, M>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str(M::EXPECTED)
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
                W::deserialize(word.into_deserializer()).map(WordOr::Word)
            }

            fn visit_map<A: MapAccess<'d>>(self, entries: A) -> Result<Self::Value, A::Error> {
                M::deserialize(MapAccessDeserializer::new(entries)).map(|mapping| WordOr::Mapping(Box::new(mapping)))
            }
        }
        deserializer.deserialize_any(Visit(PhantomData))
    }
}

impl<W: JsonSchema, M: JsonSchema> JsonSchema for WordOr<W, M> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}Or{}", W::schema_name(), M::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let word = generator.subschema_for::<W>();
        let mapping = generator.subschema_for::<M>();
        json_schema!({ "anyOf": [word, mapping] })
    }
}

impl From<Policy> for checked::Policy {
    fn from(written: Policy) -> Self {
        match written {
            Policy::DeadLetter => checked::Policy::DeadLetter,
            Policy::Skip => checked::Policy::Skip,
            Policy::Stop => checked::Policy::Stop,
        }
    }
}

impl Surroundings<'_> {
    /// What becomes of records that fail, with the defaults for what is not written.
    pub(super) fn on_error(&self, written: Option<&Spanned<OnError>>) -> checked::OnError {
        let by_kind = match written.map(|written| &written.value) {
            None => return checked::OnError::default(),
            Some(WordOr::Word(policy)) => return checked::OnError::all((*policy).into()),
            Some(WordOr::Mapping(by_kind)) => by_kind,
        };
        let mut on_error = checked::OnError::default();
        let kinds = [
            (&mut on_error.reject, by_kind.reject),
            (&mut on_error.fault, by_kind.fault),
            (&mut on_error.limit, by_kind.limit),
        ];
        for (policy, written) in kinds {
            *policy = written.map_or(*policy, Into::into);
        }
        on_error.decode = by_kind.decode.map_or(on_error.reject, Into::into);
        on_error.encode = by_kind.encode.map_or(on_error.fault, Into::into);
        if let Some(retry) = &by_kind.retry {
            self.retry(retry, &mut on_error);
        }
        match &by_kind.stop_when {
            None => {}
            Some(WordOr::Word(Never::Never)) => on_error.stop_when = None,
            Some(WordOr::Mapping(when)) => on_error.stop_when = Some(self.stop_when(when)),
        }
        on_error
    }

    fn retry(&self, written: &Retry, on_error: &mut checked::OnError) {
        let retry = &mut on_error.retry;
        retry.backoff = written.backoff.map_or(retry.backoff, Duration::from);
        retry.give_up_after = written.r#for.map_or(retry.give_up_after, Duration::from);
        on_error.retry_then = written.then.map_or(on_error.retry_then, Into::into);
        match &written.max_backoff {
            None => retry.max_backoff = retry.max_backoff.max(retry.backoff),
            Some(most) => {
                retry.max_backoff = most.value.into();
                let (first, longest) = (retry.backoff, retry.max_backoff);
                if first > longest {
                    self.findings.mistake(&most.at, || {
                        let what = format!("the longest delay, {}, is shorter than the first", most.shown());
                        (what, format!("write at least `max-backoff: {}ms`, or a shorter `backoff`", first.as_millis()))
                    });
                }
            }
        }
    }

    fn stop_when(&self, written: &StopWhen) -> checked::StopWhen {
        let when = checked::StopWhen { dead_letters: written.dead_letters.value.get(), of: written.of.get() };
        if when.dead_letters > when.of {
            self.findings.mistake(&written.dead_letters.at, || {
                let what = format!("there are never {} dead letters among {} records", when.dead_letters, when.of);
                (what, "write a smaller number, or `stop-when: never` when that is meant".to_owned())
            });
        }
        when
    }

    /// What is written for nothing.
    pub(super) fn idle_breaker(&self, written: Option<&Spanned<OnError>>, checked: &checked::OnError) {
        let Some(Spanned { value: WordOr::Mapping(by_kind), at: Some(at), .. }) = written else { return };
        if let Some(WordOr::Mapping(_)) = by_kind.stop_when
            && !checked.may_give_up()
        {
            self.findings.add(
                Diagnostic::warning(at.clone(), "with this `on-error` there is nothing for `stop-when` to count")
                    .help("remove `stop-when`, or let something be a `dead-letter`"),
            );
        }
    }
}
