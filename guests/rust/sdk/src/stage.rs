//! The macros that make a stage of a function.

use crate::{Bytes, Failure, Output, Record, logging::say_panics, record};

/// Makes a stage of a function or closure that takes a key and a value and gives an [`Output`].
///
/// ```
/// millstream::stage!(|key, value| Some((key, value)));
/// ```
#[macro_export]
macro_rules! stage {
    ($function:expr) => {
        $crate::stage!($crate::macros::run, $function);
    };
    ($run:path, $function:expr) => {
        const _: () = {
            struct Exported;
            impl $crate::macros::stage::exports::millstream::stage::transformer::Guest for Exported {
                fn transform(
                    key: $crate::Bytes,
                    value: $crate::Bytes,
                ) -> ::std::result::Result<::std::vec::Vec<$crate::Record>, $crate::Failure> {
                    $run($function, key, value)
                }
            }
    $crate::macros::stage::export_stage!(Exported with_types_in $crate::macros::stage);
        };
    };
}

/// Makes a stage of a function or closure of the value alone. A tombstone passes through.
///
/// ```
/// millstream::map_value!(|value| value.to_ascii_uppercase());
/// ```
#[macro_export]
macro_rules! map_value {
    ($function:expr) => {
        $crate::stage!($crate::macros::map, $function);
    };
}

/// Beside [`stage!`], [`map_value!`] or [`source!`](crate::source!): a function of `fn() -> Result<(), String>` that is
/// called before the first record. An error refuses the module, with its words.
#[macro_export]
macro_rules! open {
    ($function:expr) => {
        const _: () = {
            struct Exported;
            impl $crate::macros::open::exports::millstream::stage::lifecycle::Guest for Exported {
                fn open() -> ::std::result::Result<(), ::std::string::String> {
                    $crate::macros::say_panics();
                    ($function)()
                }
            }
    $crate::macros::open::export_open!(Exported with_types_in $crate::macros::open);
        };
    };
}

/// What `stage!` calls.
pub fn run<O: Output>(function: impl Fn(Bytes, Bytes) -> O, key: Bytes, value: Bytes) -> Result<Vec<Record>, Failure> {
    say_panics();
    function(key, value).output()
}

/// What `map_value!` calls.
pub fn map<V: crate::IntoBytes>(
    function: impl Fn(Vec<u8>) -> V,
    key: Bytes,
    value: Bytes,
) -> Result<Vec<Record>, Failure> {
    say_panics();
    Ok(vec![record(key, value.and_then(|value| function(value).into_bytes()))])
}
