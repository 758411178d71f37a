//! Go: a module of its own, with the SDK and all that is generated as a module in `millstream`.

use super::{Example, Kit, Tool, bindings};

pub(super) const KIT: Kit = Kit {
    language: "Go",
    tools: &[Tool {
        name: "Go",
        ask: &["go", "version"],
        oldest: Some((1, 25)),
        get: "install it from https://go.dev/dl",
    }],
    // What is generated links to names of Go's runtime. The same sources make the same module, wherever they lie; also
    // below a workspace, which does not know this module.
    build: "GOWORK=off GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -trimpath -buildvcs=false \
            -ldflags='-checklinkname=0 -s -w' -o {{name}}.wasm",
    module: "{{name}}.wasm",
    wit: "millstream/stage.wit",
    author: |example| {
        Some(match example {
            Example::Upper => &[("main.go", guest!("go/examples/upper.go"))],
            Example::Route => &[("main.go", guest!("go/examples/route.go"))],
            Example::Strict => &[("main.go", guest!("go/examples/strict.go"))],
            Example::Numbers => return None,
        })
    },
    files: &[
        ("go.mod", guest!("go/skeleton/go.mod")),
        (".gitignore", guest!("go/skeleton/.gitignore")),
        ("millstream/go.mod", guest!("go/sdk/go.mod")),
        ("millstream/millstream.go", guest!("go/sdk/millstream.go")),
        ("millstream/record.go", guest!("go/sdk/record.go")),
        ("millstream/failure.go", guest!("go/sdk/failure.go")),
        ("millstream/host.go", guest!("go/sdk/host.go")),
        ("millstream/internal/clock/clock.go", guest!("go/sdk/internal/clock/clock.go")),
        ("millstream/internal/clock/empty.s", guest!("go/sdk/internal/clock/empty.s")),
        (
            "millstream/internal/export_millstream_stage_lifecycle/open.go",
            guest!("go/sdk/internal/export_millstream_stage_lifecycle/open.go"),
        ),
        (
            "millstream/internal/export_millstream_stage_transformer/transform.go",
            guest!("go/sdk/internal/export_millstream_stage_transformer/transform.go"),
        ),
    ],
    generate: |_| bindings::go("millstream/internal"),
};
