#!/bin/sh
# Runs what the Makefile has built and compares what it says.
set -eu
out=${OUT:-build}

# expect STATUS TEXT PROGRAM...: the program ends so, and a line of what it prints contains the text.
expect() {
    status=$1 text=$2
    shift 2
    got=0
    "$@" >"$out/said" 2>&1 || got=$?
    if [ "$got" != "$status" ] || ! grep -qF -- "$text" "$out/said"; then
        echo "FAILED: $*: exit status $got, expected $status and \"$text\":" >&2
        cat "$out/said" >&2
        exit 1
    fi
    echo "ok: $*: $(tail -n 1 "$out/said")"
}

expect 0 "all data of the guest have survived" "$out/host"
expect 0 "all data of the guest have survived" "$out/host_raw"
expect 0 "every misuse has its answer" "$out/misuse"
expect 0 "every misuse of pointers has its answer" "$out/misuse_raw"
expect 3 "caught: a device reads a guest page" "$out/host_buggy" io
expect 3 "rule T11" "$out/host_buggy" io
expect 3 "caught: storing a page of the image: program interruption 0x3d" "$out/host_buggy" reuse
expect 3 "rule T9" "$out/host_buggy" reuse
expect 3 "caught: import: refused with rc 0x0106, rrc 0x0000, rule T26" "$out/host_buggy" purge
expect 2 "usage" "$out/host_buggy"
expect 0 "executions/s" "$out/fuzz_swap" --random "${FUZZ_RUNS:-300}" 1
# What is found ends as a fuzzer's finding does: SIGABRT.
expect 134 "caught: import: refused with rc 0x0106, rrc 0x0000, rule T26" "$out/fuzz_swap_planted" --random 300 2
