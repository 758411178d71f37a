//! What the commands say of themselves.

use crate::support::{Folder, golden};

const COMMANDS: [&str; 37] = [
    "",
    "new",
    "build",
    "run",
    "check",
    "try",
    "test",
    "clusters",
    "clusters list",
    "clusters add",
    "clusters use",
    "clusters show",
    "clusters remove",
    "resources",
    "topics",
    "topics list",
    "topics create",
    "topics describe",
    "topics grow",
    "topics delete",
    "produce",
    "consume",
    "offsets",
    "offsets show",
    "offsets set",
    "dead-letters",
    "dead-letters list",
    "dead-letters show",
    "dead-letters retry",
    "replay",
    "swap",
    "rollback",
    "swaps",
    "status",
    "graph",
    "schema",
    "completions",
];

#[test]
fn every_command_has_an_example_and_fits_a_terminal() {
    let folder = Folder::new();
    let said: Vec<_> = COMMANDS.iter().map(|command| folder.says(&format!("{command} --help"))).collect();
    for help in &said {
        assert_eq!((help.code, help.err.as_str()), (0, ""));
        assert!(help.out.contains("\nExample"), "{}", help.out);
        for line in help.out.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
    golden("help", &said);
}

#[test]
fn the_schema_is_a_json_schema() {
    let said = Folder::new().says("schema");
    let schema = serde_json::from_str(&said.out).unwrap();
    assert!(jsonschema::meta::is_valid(&schema));
    let validator = jsonschema::validator_for(&schema).unwrap();
    let stage = serde_json::json!({"module": "m.wasm", "input": "i", "output": "o"});
    let accepts = |name: &str| validator.is_valid(&serde_json::json!({"name": name, "stages": {"a": stage}}));
    assert!(accepts("orders") && !accepts("my orders"));
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let said = Folder::new().says(&format!("completions {shell}"));
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{shell}");
        assert!(said.out.contains("run") && said.out.contains("until-idle"), "{shell}: {}", said.out);
    }
}

#[test]
fn the_version_is_the_packages() {
    let said = Folder::new().says("--version");
    assert_eq!((said.code, said.out), (0, format!("millstream {}\n", env!("CARGO_PKG_VERSION"))));
}
