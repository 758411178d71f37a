//! What was built once runs for ever: modules of released versions of the WIT package, kept as they were.

use crate::wasm::{
    Cache, Engine, Instance, Kind, Module, OpenError, Setup,
    fixture::{One, lines, setup, show},
};
use std::path::Path;

/// A stage that was built with 0.1.0. It is never built anew: no change of the host, of the SDK or of a compiler may
/// make it fail. `frozen/stage-0.1.0.rs` is what it was built from.
const STAGE: &str = "frozen/stage-0.1.0.wasm";

fn frozen(name: &str, setup: Setup) -> Result<Instance, OpenError> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wasm/tests").join(name);
    let module = Module::load(&path, Kind::Stage).unwrap();
    Instance::new(&Engine::new().unwrap().compile(&module, &Cache::none(), &mut |_| {}).unwrap(), setup)
}

#[test]
fn a_stage_built_with_0_1_0_runs() {
    let mut stage = frozen(STAGE, setup()).unwrap();
    let mut says = |value: &str| {
        let headers = One::of("").headers;
        show(&One { headers, attempt: 2, ..One::of(value) }.hand_to(&mut stage))
    };
    let (said, lines) = lines(|| says("hello"));
    assert_eq!(said, "k=hello =[] | audit=orders 3 42 2 2 +[kept=no] ->audit p1 @5");
    assert_eq!(lines, ["INFO from orders-prod stage=trial topic=orders-prod partition=3 offset=42"]);
    assert_eq!(says("reject"), "reject(asked) no such order");
    assert_eq!(says("retry"), "retry in 250 ms not yet");
    assert_eq!(says("fault"), "fault my own mistake");
    assert_eq!(says("hello"), said, "on a fresh instance");
}

#[test]
fn its_open_refuses_in_its_words() {
    let refused = frozen(STAGE, Setup { config: Vec::new(), ..setup() }).err().unwrap();
    assert_eq!(refused.to_string(), "refused: `currency` is not set");
}
