#!/bin/sh
# A minute for each fuzz target, or for those that are named; TAFFRAIL_FUZZ_SECONDS for more. With the
# stable toolchain: the compiler is told to allow what the fuzzer's flags need.
set -eu
cd "$(dirname "$0")/.."
if ! cargo fuzz --version >/dev/null 2>&1; then
	echo "cargo-fuzz is not installed: cargo install cargo-fuzz" >&2
	exit 1
fi
export RUSTC_BOOTSTRAP=1
# Whole logs are written for each input; memory is the fastest place for them.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ]; then
	export TMPDIR=/dev/shm
fi
[ $# -gt 0 ] || set -- $(cargo fuzz list)
for target; do
	echo "== $target"
	# What is found by chance goes to the build's folder: the corpus has chosen seeds only.
	found=fuzz/target/found/$target
	mkdir -p "$found" "fuzz/corpus/$target"
	cargo fuzz run "$target" "$found" "fuzz/corpus/$target" -- -max_total_time="${TAFFRAIL_FUZZ_SECONDS:-60}" \
		-timeout=30 -rss_limit_mb=1024 -malloc_limit_mb=64 -print_final_stats=1
done
