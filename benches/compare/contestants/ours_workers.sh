#!/bin/sh
# Exports a dataset by a number of workers, at the same time or one after the other.
# usage: ours_workers.sh together|in-turn WORKERS BINARY DATASET BASE_URL OUT [OPTION...]
# The options are those of `begin`.
set -eu
order=$1 workers=$2 binary=$3 dataset=$4 url=$5 out=$6
shift 6
"$binary" begin "$dataset" --base-url "$url" --output "$out" --ranges "$workers" --quiet "$@" > /dev/null
pids=
number=0
while [ "$number" -lt "$workers" ]; do
    "$binary" part --base-url "$url" --output "$out" --range-index "$number" --quiet &
    if [ "$order" = in-turn ]; then
        wait "$!"
    else
        pids="$pids $!"
    fi
    number=$((number + 1))
done
for pid in $pids; do
    wait "$pid"
done
"$binary" commit --base-url "$url" --output "$out" --quiet
