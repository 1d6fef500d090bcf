#!/usr/bin/env bash
# Our GGUF files in llama.cpp and llama.cpp's quantised files in our program, as tables.
#
#   benchmarks/llama.cpp/prove-formats.sh LLAMA_CPP_FOLDER
#
# The folder holds llama-quantize and llama-logits. llama-logits is a small program on llama.cpp's library: MODEL.gguf, a file of token
# ids (one sequence a line), the file to write float32 logits of every position to ([vocabulary] each), 0, threads; its cache is F32
# and flash attention is off. Exit code 1: something is beyond its allowance.
set -euo pipefail
llama=${1:?give the folder of llama-quantize and llama-logits}
root=$(cd "$(dirname "$0")/../.." && pwd)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
dotnet build -c Release -v quiet "$root/benchmarks/OpenElm.Benchmarks" > "$log" || { cat "$log"; exit 1; }
exec dotnet "$root/benchmarks/OpenElm.Benchmarks/bin/Release/net10.0/OpenElm.Benchmarks.dll" formats "$llama" "$root/tests/Golden"
