//! `graph`: a manifest as a drawing.

use crate::support::{Folder, repository};

const DRAWING: &str = r#"flowchart LR
  source-orders["orders"]
  topic0(["orders"])
  source-orders --> topic0
  stage-price["price"]
  topic0 --> stage-price
  topic1(["priced"])
  stage-price --> topic1
  topic2(["cafe.price.dead-letter"])
  stage-price -.-> topic2
  sink-show["show"]
  topic1 --> sink-show
"#;

#[test]
fn a_manifest_is_drawn_whether_its_modules_are_built_or_not() {
    let manifest = repository("examples/quickstart/millstream.yaml");
    let said = Folder::new().says(&format!("graph {}", manifest.display()));
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, DRAWING, ""));
    let said = Folder::new().says(&format!("graph {} --live --admin 127.0.0.1:1", manifest.display()));
    assert!(said.code == 1 && said.err.contains("no host answers at 127.0.0.1:1"), "{said:?}");
}
