#!/bin/sh
# Exports a dataset by a number of workers at the same time.
# usage: ours_workers.sh WORKERS BINARY DATASET BASE_URL OUT [OPTION...]   (the options are those of `begin`)
set -eu
workers=$1 binary=$2 dataset=$3 url=$4 out=$5
shift 5
"$binary" begin "$dataset" --base-url "$url" --output "$out" --ranges "$workers" --quiet "$@" > /dev/null
pids=
number=0
while [ "$number" -lt "$workers" ]; do
    "$binary" part --base-url "$url" --output "$out" --range-index "$number" --quiet &
    pids="$pids $!"
    number=$((number + 1))
done
for pid in $pids; do
    wait "$pid"
done
"$binary" commit --base-url "$url" --output "$out" --quiet
