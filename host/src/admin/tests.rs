//! What the API's description says, held against its routes.

use super::ROUTES;
use serde_json::Value;
use std::collections::BTreeSet;

#[test]
fn the_description_has_every_route_and_no_other() {
    let described: Value = serde_json::from_str(include_str!("openapi.json")).expect("it is JSON");
    let paths = described["paths"].as_object().expect("it has paths");
    let described: BTreeSet<_> = paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("a path has methods");
            methods.keys().map(move |method| (path.clone(), method.to_uppercase()))
        })
        .collect();
    let there: BTreeSet<_> = ROUTES.iter().map(|route| (route.path.to_owned(), route.method.to_owned())).collect();
    assert_eq!(described, there);
}
