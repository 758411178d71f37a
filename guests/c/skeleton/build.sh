#!/bin/sh
# Builds {{name}}.wasm. The compiler, which is clang, comes with ziglang from PyPI into .venv, once.
set -e
cd "$(dirname "$0")"
if ! cmp -s requirements.txt .venv/installed.txt; then
  python3 -m venv --clear .venv
  .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
  cp requirements.txt .venv/installed.txt
fi
.venv/bin/python -m ziglang cc -target wasm32-wasi -mexec-model=reactor -O2 -Wall -Imillstream *.c millstream/*.c \
  -Wl,--strip-all -Wl,-z,stack-size=262144 -o {{name}}.wasm
