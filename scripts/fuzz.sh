#!/bin/sh
# A minute for each fuzz target; TAFFRAIL_FUZZ_SECONDS for more.
set -eu
cd "$(dirname "$0")/.."
if ! cargo fuzz --version >/dev/null 2>&1; then
	echo "cargo-fuzz is not installed: cargo install cargo-fuzz" >&2
	exit 1
fi
cd fuzz
for target in $(cargo fuzz list); do
	echo "== $target"
	cargo +nightly fuzz run "$target" -- -max_total_time="${TAFFRAIL_FUZZ_SECONDS:-60}"
done
