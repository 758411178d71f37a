//! Python: a component by componentize-py, which comes from PyPI into the project's own `.venv`.

use super::{Example, Kit, Tool};

pub(super) const KIT: Kit = Kit {
    language: "Python",
    tools: TOOLS,
    build: "sh build.sh",
    module: "{{name}}.wasm",
    wit: "millstream/wit/stage.wit",
    author: |example| {
        Some(match example {
            Example::Upper => &[("stage.py", guest!("python/examples/upper.py"))],
            Example::Route => &[("stage.py", guest!("python/examples/route.py"))],
            Example::Strict => &[("stage.py", guest!("python/examples/strict.py"))],
            // `build.sh` and `app.py` know a source by its file.
            Example::Numbers => &[("source.py", guest!("python/examples/numbers.py"))],
        })
    },
    files: &[
        ("build.sh", guest!("python/skeleton/build.sh")),
        ("requirements.txt", guest!("python/skeleton/requirements.txt")),
        (".gitignore", guest!("python/skeleton/.gitignore")),
        ("millstream/__init__.py", guest!("python/sdk/__init__.py")),
        ("millstream/app.py", guest!("python/sdk/app.py")),
    ],
    generate: |_| Ok(Vec::new()),
};

const PYTHON: &str = "`apt install python3 python3-venv` brings it, or install it from https://www.python.org";

/// What every build needs that fetches its tools from PyPI.
pub(super) const TOOLS: &[Tool] = &[
    Tool { name: "Python", ask: &["python3", "--version"], oldest: Some((3, 10)), get: PYTHON },
    Tool { name: "Python's venv", ask: &["python3", "-c", "import venv, ensurepip"], oldest: None, get: PYTHON },
];
