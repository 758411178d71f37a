//! What is kept of what a registry says, and what is not.

use super::{
    super::{schema::Language, served::serve, store::Found},
    *,
};
use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

const ORDER: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"long"}]}"#;
/// The same, as a registry may give it back.
const SAME: &str =
    r#"{"type":"record","name":"shop.Order","fields":[{"name":"id","type":{"type":"long"}}],"doc":"One of many."}"#;

/// A registry in which the topic's schema has this id, or is not there when that is 0; and the schemas of the topic.
fn shop(id: &Arc<AtomicU32>, state: &Path) -> Schemas {
    let id = id.clone();
    let url = serve(move |question, _| match (question, id.load(Ordering::SeqCst)) {
        ("POST /subjects/orders-value/versions", _) => (200, r#"{"id":7}"#.into()),
        ("POST /subjects/orders-value", 0) => (404, r#"{"error_code":40401}"#.into()),
        ("POST /subjects/orders-value", id) => (200, format!(r#"{{"id":{id}}}"#)),
        _ => (404, r#"{"error_code":40401}"#.into()),
    });
    let source = SchemaSource::Text(Written::new(Language::Avro, ORDER));
    let schema = TopicSchema { source, register: Register::Missing };
    Schemas {
        store: Store::of_registry(Some(state), &SchemaRegistry::at(&url)).unwrap(),
        wanted: vec![Wanted { topic: "orders".into(), part: Part::Value, schema }],
        lends: None,
    }
}

fn writes_with(bound: &Bound) -> u32 {
    bound.writers("orders")[1].unwrap().id
}

#[test]
fn who_only_compares_writes_nothing() {
    for id in [0, 3] {
        let folder = tempfile::tempdir().unwrap();
        let schemas = shop(&Arc::new(id.into()), folder.path());
        assert_eq!(schemas.compare().unwrap().len(), if id == 0 { 1 } else { 0 });
        assert_eq!(writes_with(&schemas.known().unwrap()), id);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        // Who goes to work does.
        assert_eq!(writes_with(&schemas.settle().unwrap()), if id == 0 { 7 } else { id });
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn what_cannot_be_cached_is_no_reason_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("schemas"), "in the way").unwrap();
    let schemas = shop(&Arc::new(3.into()), folder.path());
    assert_eq!(writes_with(&schemas.settle().unwrap()), 3);
    assert!(schemas.store.said_unkept.load(Ordering::SeqCst));
}

#[test]
fn nothing_is_kept_of_a_registry_that_was_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let id = Arc::new(AtomicU32::new(3));
    let schemas = shop(&id, folder.path());
    let shelf = schemas.store.shelf.as_ref().unwrap();
    schemas.settle().unwrap();
    shelf.keep(4, &Written::new(Language::Avro, "\"string\"")).unwrap();
    // It is still the same when it says the same in other words.
    shelf.keep(3, &Written::new(Language::Avro, SAME)).unwrap();
    schemas.settle().unwrap();
    assert!(matches!(schemas.store.find(4, Duration::ZERO), Found::Schema(_)), "a string, so far");
    id.store(4, Ordering::SeqCst);
    assert_eq!(writes_with(&schemas.settle().unwrap()), 4);
    assert_eq!(shelf.get(3).unwrap(), None);
    assert_eq!(shelf.get(4).unwrap().unwrap().text, ORDER);
    assert_eq!(shelf.remembered("orders-value", ORDER).unwrap(), Some(4));
    // What is read with that id from now on is read with that schema.
    let Found::Schema(schema) = schemas.store.find(4, Duration::ZERO) else { panic!("it was just settled") };
    assert_eq!(schema.encode(br#"{"id":1}"#, &mut Vec::new()), Ok(()));
}

#[test]
fn a_schema_with_a_default_that_does_not_fit_is_still_itself() {
    let written = |text: &str| Written::new(Language::Avro, text);
    let field = r#"{"type":"record","name":"shop.Order","fields":[{"name":"id","type":"long","default":"none"}]}"#;
    let moved = r#"{"type":"record","namespace":"shop","name":"Order","fields":[{"name":"id","type":{"type":"long"},"default":"none"}]}"#;
    assert!(is_equal(&written(field), &written(moved)));
    assert!(!is_equal(&written(field), &written(&moved.replace("long", "int"))));
    assert!(!is_equal(&written(field), &Written::new(Language::Json, moved)));
    // What another defines is known by its name.
    let refers = |text: &str| Written { others: vec![ORDER.to_owned()], ..written(text) };
    let (one, same) = (r#"["null","shop.Order"]"#, r#"[{"type":"null"},"shop.Order"]"#);
    assert!(is_equal(&refers(one), &refers(same)));
    assert!(!is_equal(&written("{"), &written("[")), "neither is a schema");
}
