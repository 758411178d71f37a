//! JavaScript: bundled by esbuild, and made a component by componentize-qjs; both come from npm.

use super::{Example, Kit, Tool};

pub(super) const KIT: Kit = Kit {
    language: "JavaScript",
    tools: &[
        Tool { name: "Node.js", ask: &["node", "--version"], oldest: Some((18, 0)), get: NODE },
        Tool { name: "npm", ask: &["npm", "--version"], oldest: None, get: NODE },
    ],
    build: "npm install > /dev/null && npm run --silent build",
    module: "{{name}}.wasm",
    wit: "millstream/wit/stage.wit",
    author: |example| {
        Some(match example {
            Example::Upper => &[("stage.js", guest!("js/examples/upper.js"))],
            Example::Route => &[("stage.js", guest!("js/examples/route.js"))],
            Example::Strict => &[("stage.js", guest!("js/examples/strict.js"))],
            Example::Numbers => return None,
        })
    },
    files: &[
        ("package.json", guest!("js/skeleton-js/package.json")),
        (".npmrc", guest!("js/skeleton-js/.npmrc")),
        (".gitignore", guest!("js/skeleton-js/.gitignore")),
        ("millstream/package.json", guest!("js/sdk/package.json")),
        ("millstream/millstream.js", guest!("js/sdk/millstream.js")),
        ("millstream/millstream.d.ts", guest!("js/sdk/millstream.d.ts")),
        ("millstream/entry.js", guest!("js/sdk/entry.js")),
    ],
    generate: |_| Ok(Vec::new()),
};

const NODE: &str = "install it from https://nodejs.org";
