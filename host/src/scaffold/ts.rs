//! TypeScript: as JavaScript, with its types checked by the build.

use super::{Example, Kit, Tool};

pub(super) const KIT: Kit = Kit {
    language: "TypeScript",
    tools: &[
        Tool { name: "Node.js", ask: &["node", "--version"], oldest: Some((18, 0)), get: NODE },
        Tool { name: "npm", ask: &["npm", "--version"], oldest: None, get: NODE },
    ],
    build: "npm install > /dev/null && npm run --silent build",
    module: "{{name}}.wasm",
    wit: "millstream/wit/stage.wit",
    author: |example| {
        Some(match example {
            Example::Upper => &[("stage.ts", guest!("js/examples/upper.ts"))],
            Example::Route => &[("stage.ts", guest!("js/examples/route.ts"))],
            Example::Strict => &[("stage.ts", guest!("js/examples/strict.ts"))],
            Example::Numbers => return None,
        })
    },
    files: &[
        ("package.json", guest!("js/skeleton-ts/package.json")),
        (".npmrc", guest!("js/skeleton-ts/.npmrc")),
        ("tsconfig.json", guest!("js/skeleton-ts/tsconfig.json")),
        (".gitignore", guest!("js/skeleton-ts/.gitignore")),
        ("millstream/package.json", guest!("js/sdk/package.json")),
        ("millstream/millstream.js", guest!("js/sdk/millstream.js")),
        ("millstream/millstream.d.ts", guest!("js/sdk/millstream.d.ts")),
        ("millstream/entry.js", guest!("js/sdk/entry.js")),
    ],
    generate: |_| Ok(Vec::new()),
};

const NODE: &str = "install it from https://nodejs.org";
