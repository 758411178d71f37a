#!/bin/sh
# Builds a stage of which only the author's own file stands here, in the project that `millstream new` lays out around it.
set -eu
cd "$(dirname "$0")"
stage=$1
language=$2
mkdir -p build
test -e "build/$stage/millstream.yaml" || (cd build && "$MILLSTREAM" new "$stage" --lang "$language" > /dev/null)
cp "$stage"/* "build/$stage/"
cd "build/$stage"
"$MILLSTREAM" build
