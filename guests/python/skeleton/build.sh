#!/bin/sh
# Builds {{name}}.wasm. What builds it comes from PyPI into .venv, once; packages of pure Python that stand in
# requirements.txt as well can be imported by the stage.
set -e
cd "$(dirname "$0")"
if ! cmp -s requirements.txt .venv/installed.txt; then
  python3 -m venv --clear .venv
  .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
  cp requirements.txt .venv/installed.txt
fi
world=stage-with-lifecycle
if [ -f source.py ]; then world=source-with-lifecycle; fi
# Without the backtrace of the tool itself: what is wrong with the stage stands in its words.
export VIRTUAL_ENV=.venv RUST_LIB_BACKTRACE=0
.venv/bin/componentize-py --quiet -d millstream/wit -w $world componentize -p . millstream.app -o {{name}}.wasm
