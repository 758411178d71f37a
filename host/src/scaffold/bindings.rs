//! The WIT in Go and in C. Both are written when a project is made, by the generators that others keep, so that none of
//! it lies in the repository.

use super::{File, WIT};
use anyhow::{Context, Result, ensure};
use wit_bindgen_core::{Files, WorldGenerator, wit_parser::Resolve};

/// It holds all that a stage may have: the SDKs answer for a `lifecycle` that the author leaves out.
const WORLD: &str = "stage-with-lifecycle";

/// What generated Go code needs: path, and text. `build.rs` finds them.
const GO_PACKAGES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/go_packages.rs"));
/// Where they lie for everybody else.
const GO_PACKAGES_PUBLISHED: &str = "go.bytecodealliance.org/pkg/wit/";
/// Where all of it lies in the SDK, and where no author can reach it.
const GO_INTERNAL: &str = "millstream/internal";

/// `wit.h` and `wit.c`, for that folder: the functions that a stage in C calls, and what calls its own.
pub(super) fn c(folder: &str) -> Result<Vec<File>> {
    let options = wit_bindgen_c::Opts {
        // So the files are called, and what they have beside the WIT's own names begins like this.
        rename_world: Some("wit".into()),
        // The host knows the world by the names of the exports.
        no_object_file: true,
        ..Default::default()
    };
    let file = |(path, text): (String, String)| {
        let text = if path == "wit.c" { without_object(&text)? } else { text };
        Ok(File::new(format!("{folder}/{path}"), text))
    };
    generate(&mut *options.build())?.into_iter().map(file).collect()
}

/// The packages for that folder, which is `internal` of the SDK: what a stage in Go calls, what calls its own, and what
/// both need.
pub(super) fn go(folder: &str) -> Result<Vec<File>> {
    let options = wit_bindgen_go::Opts {
        // Always the same text, whether there is a `gofmt` or not.
        format: wit_bindgen_go::Format::False,
        pkg_name: Some(GO_INTERNAL.into()),
        ..Default::default()
    };
    let generated = generate(&mut *options.build())?;
    let is_used = generated.iter().any(|(_, text)| text.contains(GO_PACKAGES_PUBLISHED));
    ensure!(is_used, "nothing generated needs {GO_PACKAGES_PUBLISHED}: its name is another one by now");
    let packages = GO_PACKAGES.iter().map(|(path, text)| match *path {
        "LICENSE" => ("wit/LICENSE".to_owned(), text.to_string()),
        path => (path.to_owned(), text.to_string()),
    });
    let ours = format!("{GO_INTERNAL}/wit/");
    let file = |(path, text): (String, String)| {
        File::new(format!("{folder}/{path}"), text.replace(GO_PACKAGES_PUBLISHED, &ours))
    };
    Ok(generated.into_iter().chain(packages).map(file).collect())
}

fn generate(generator: &mut dyn WorldGenerator) -> Result<Vec<(String, String)>> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("stage.wit", WIT)?;
    let world = resolve.select_world(&[package], Some(WORLD))?;
    let mut files = Files::default();
    generator.generate(&mut resolve, world, &mut files)?;
    files.iter().map(|(path, text)| Ok((path.to_owned(), str::from_utf8(text)?.to_owned()))).collect()
}

/// Without what ties in an object file that holds the world, and that nobody has.
fn without_object(source: &str) -> Result<String> {
    const TIE: &str = "\n// Ensure that the *_component_type.o object is linked in\n";
    const NEEDED: &str = "__component_type_object_force_link_wit();\n}\n";
    let (kept, tie) = source.split_once(TIE).context("wit.c does not say what ties in its object")?;
    ensure!(tie.ends_with(NEEDED), "wit.c does not end with what ties in its object");
    Ok(kept.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(files: &'a [File], path: &str) -> &'a str {
        &files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("no {path}")).text
    }

    #[test]
    fn c_has_the_exports_under_the_names_that_tell_the_world() {
        let files = c("to").unwrap();
        let paths: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["to/wit.c", "to/wit.h"]);
        for name in ["millstream:stage/transformer@0.1.0#transform", "millstream:stage/lifecycle@0.1.0#open"] {
            assert!(text(&files, "to/wit.c").contains(&format!("__export_name__(\"{name}\")")), "{name}");
        }
    }

    #[test]
    fn c_needs_no_object_beside_it() {
        let files = c("to").unwrap();
        assert!(!text(&files, "to/wit.c").contains("component_type"));
    }

    #[test]
    fn an_object_that_is_tied_in_otherwise_is_not_passed_over() {
        let moved = without_object("int a;\n").unwrap_err();
        assert_eq!(moved.to_string(), "wit.c does not say what ties in its object");
        let longer = "int a;\n\n// Ensure that the *_component_type.o object is linked in\nint b;\n";
        assert!(without_object(longer).is_err());
    }

    #[test]
    fn go_has_the_exports_under_the_names_that_tell_the_world() {
        let files = go("to").unwrap();
        let exports = text(&files, "to/wit_exports/wit_exports.go");
        for name in ["millstream:stage/transformer@0.1.0#transform", "millstream:stage/lifecycle@0.1.0#open"] {
            assert!(exports.contains(&format!("//go:wasmexport {name}\n")), "{name}");
        }
    }

    #[test]
    fn go_imports_nothing_that_is_not_there() {
        let files = go("to").unwrap();
        // The SDK brings these two, as they call the author's functions.
        let sdk = ["export_millstream_stage_lifecycle", "export_millstream_stage_transformer"];
        for File { path, text } in &files {
            // An import ends with its path, as no call with a text does.
            for line in text.lines().filter(|line| line.ends_with('"') && path.ends_with(".go")) {
                let Some(import) = line.split('"').nth(1).filter(|import| import.contains(['.', '/'])) else {
                    continue;
                };
                let Some(package) = import.strip_prefix("millstream/internal/") else {
                    panic!("{path} imports {import}");
                };
                let is_there = files.iter().any(|file| file.path.starts_with(&format!("to/{package}/")));
                assert!(is_there || sdk.contains(&package), "{path} imports {package}");
            }
        }
    }

    #[test]
    fn go_has_the_packages_of_its_generator_with_their_licence() {
        let files = go("to").unwrap();
        assert!(text(&files, "to/wit/LICENSE").contains("Apache License"));
        assert!(text(&files, "to/wit/runtime/runtime.go").contains("//go:wasmexport cabi_realloc"));
        assert!(text(&files, "to/wit/types/option.go").contains("func Some"));
    }
}
