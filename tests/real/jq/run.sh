#!/usr/bin/env bash
# jq: grouping, sorting, reducing, string work and paths over 30,000 records.
# needs: jq=jq
set -euo pipefail
data=$INPUT/records.json
jq -s 'group_by(.team) | map({team: .[0].team, n: length, mean: (map(.score) | add / length)}) | sort_by(-.mean)' "$data"
jq -c 'select(.tags | index("tag3")) | {id, n: (.tags | length), t: (.text | ascii_upcase)}' "$data" >"$OUT/selected.json"
jq -s 'reduce .[] as $r ({}; .[$r.tags[]?] += 1)' "$data"
jq -r '[.id, .team, .score, (.tags | join("+")), .deep.a.b[1]] | @csv' "$data" >"$OUT/table.csv"
jq -s '[.[] | .. | numbers] | length, add' "$data"
jq -s 'map(.text | gsub("(?<w>[a-z]+) (?<x>[a-z]+)"; "\(.x) \(.w)")) | unique' "$data"
jq -s 'to_entries | map(select(.key % 1000 == 0) | .value) | [paths(type == "number")] | length' "$data"
jq -n '[range(200000)] | map(select(. % 7 == 0) | tostring) | join(",") | length'
