#!/bin/sh
# Builds one of the pipeline's modules, and puts it beside the manifest.
set -eu
cd "$(dirname "$0")"
case $1 in
    numbers) workspace=../../guests/rust ;;
    *) workspace=$1 ;;
esac
cargo build --quiet --release --locked --target wasm32-unknown-unknown --target-dir target \
    --manifest-path "$workspace/Cargo.toml" --package "$1"
cp "target/wasm32-unknown-unknown/release/$1.wasm" .
