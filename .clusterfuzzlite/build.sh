#!/bin/bash -eu
# Builds every fuzz target, its seed corpus and its dictionary into $OUT, as the base-builder-rust image of OSS-Fuzz wants.
# CARGO_FUZZ names another command than `cargo fuzz`, for a try outside of that image.
cd "$SRC/uvsim"

targets=$(model/fuzz/run)
${CARGO_FUZZ:-cargo fuzz} build -O --debug-assertions --fuzz-dir model/fuzz

host=$(rustc -vV | sed -n 's/^host: //p')
release=${CARGO_TARGET_DIR:-model/fuzz/target}/$host/release

# Seeds are written by the program itself. The flags of the fuzzers are no flags for it.
seeds=$(mktemp -d)
env -u RUSTFLAGS cargo run --quiet --locked --package uvsim --example fuzz-seeds -- "$seeds" scenarios

for target in $targets; do
  cp "$release/$target" "$OUT/"
  # What is kept in the repository reaches more than the seeds do.
  mkdir -p "$seeds/$target/regressions"
  cp model/fuzz/regressions/"$target"/* "$seeds/$target/regressions/"
  (cd "$seeds/$target" && zip --quiet --recurse-paths "$OUT/${target}_seed_corpus.zip" .)
  if [ -s "model/fuzz/dict/$target.dict" ]; then
    cp "model/fuzz/dict/$target.dict" "$OUT/"
  fi
done
rm -rf "$seeds"
