//! C: an author's file, the SDK in `millstream`, and a compiler that the build fetches for itself.

use super::{Example, Kit, bindings, python};

pub(super) const KIT: Kit = Kit {
    language: "C",
    tools: python::TOOLS,
    build: "sh build.sh",
    module: "{{name}}.wasm",
    wit: "millstream/stage.wit",
    author: |example| {
        Some(match example {
            Example::Upper => &[("stage.c", guest!("c/examples/upper.c"))],
            Example::Route => &[("stage.c", guest!("c/examples/route.c"))],
            Example::Strict => &[("stage.c", guest!("c/examples/strict.c"))],
            Example::Numbers => return None,
        })
    },
    files: &[
        ("build.sh", guest!("c/skeleton/build.sh")),
        ("requirements.txt", guest!("c/skeleton/requirements.txt")),
        (".gitignore", guest!("c/skeleton/.gitignore")),
        ("millstream/millstream.h", guest!("c/sdk/millstream.h")),
        ("millstream/millstream.c", guest!("c/sdk/millstream.c")),
    ],
    generate: |_| bindings::c("millstream"),
};
