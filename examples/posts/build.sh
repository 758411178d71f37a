#!/bin/sh
# Builds a stage of which only the author's own file stands here, in the project that `millstream new` lays out around it.
set -eu
cd "$(dirname "$0")"
stage=$1
language=$2
# Anew each time, as the host brings the SDK; what was fetched and compiled stays, and where nothing changed nothing is built.
rm -rf "build/new-$stage"
mkdir -p "build/new-$stage" "build/$stage"
(cd "build/new-$stage" && "$MILLSTREAM" new "$stage" --lang "$language" > /dev/null)
rm "build/new-$stage/$stage/$stage.test.yaml"
cp -R "build/new-$stage/$stage/." "$stage"/* "build/$stage/"
rm -rf "build/new-$stage"
cd "build/$stage"
"$MILLSTREAM" build
