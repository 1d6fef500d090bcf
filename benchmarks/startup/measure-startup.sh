#!/usr/bin/env bash
# Publishes openelm-run and measures it: measure-startup.sh MODEL [ROUNDS]
#
#   MODEL    a model of any format; its files are read once, so that they are in the page cache
#   ROUNDS   runs to the first token; half as many of bench, and 20 of the start; default 10
#
# Prints the size of the file, the time of --version (process start to exit), the time from process start to the first byte of the
# answer to a short prompt, and the rates of bench, compiled ahead of time and as it runs (openelm), in turn. Medians [least, most].
set -euo pipefail
model=${1:?give a model}
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

dotnet publish -c Release -r "$(dotnet --info | awk '/RID:/ { print $2; exit }')" -v quiet -o "$work/publish" "$root/src/OpenElm.Run" > "$work/log" || { cat "$work/log"; exit 1; }
dotnet build -c Release -v quiet "$root/src/OpenElm.Cli" > "$work/log" || { cat "$work/log"; exit 1; }
python3 "$root/benchmarks/startup/measure_startup.py" "$work/publish/openelm-run" "$root/src/OpenElm.Cli/bin/Release/net10.0/openelm" "$model" "${2:-10}"
