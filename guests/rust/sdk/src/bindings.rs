//! What `wit/stage.wit` says, in Rust. The rest of the crate makes it pleasant.
#![allow(missing_docs, unreachable_pub)]

/// The world of every stage.
pub mod stage {
    wit_bindgen::generate!({
        path: "wit",
        world: "stage",
        pub_export_macro: true,
        export_macro_name: "export_stage",
        additional_derives: [Clone, PartialEq],
    });
}

/// The world of every source, over the same types.
pub mod source {
    wit_bindgen::generate!({
        path: "wit",
        world: "source",
        pub_export_macro: true,
        export_macro_name: "export_source",
        with: {
            "millstream:stage/types@0.1.0": crate::bindings::stage::millstream::stage::types,
            "millstream:stage/config@0.1.0": crate::bindings::stage::millstream::stage::config,
            "millstream:stage/log@0.1.0": crate::bindings::stage::millstream::stage::log,
        },
        additional_derives: [Clone, PartialEq],
    });
}

/// A world of `lifecycle` alone: `open!` brings it beside `stage!` or `source!`, and who makes the component merges
/// the worlds that it finds. So one macro serves both.
pub mod open {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package millstream:open; world open { export millstream:stage/lifecycle@0.1.0; }",
        world: "millstream:open/open",
        pub_export_macro: true,
        export_macro_name: "export_open",
    });
}
