#!/bin/sh
# Our CPU runtime against llama.cpp on the same GGUF files: compare-llama-cpp.sh LLAMA_DIR MODEL_DIR
#
#   LLAMA_DIR   llama-bench and llama-quantize, built natively for this machine
#   MODEL_DIR   models are made here if they are missing: random weights (openelm convert --random), then llama-quantize
#
# MODELS, FORMATS, THREADS, ALTERNATIONS (5), PROMPT (512) and GENERATE (64) in the environment change what is measured; PROGRAM is our
# program (a published openelm or openelm-run; else the one built here). The two programs run in turn; an alternation that other processes
# disturbed (over 4 % of a processor, or over 3 % stolen) is repeated, at most five times. Printed, as a Markdown table: the medians, the
# ratio of the medians, the range of the ratios of neighbouring runs, and for generation the share of what plainly reading the weights reaches.
set -eu
[ $# -eq 2 ] || { echo "usage: $0 LLAMA_DIR MODEL_DIR" >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
program=${PROGRAM:-$root/src/OpenElm.Cli/bin/Release/net10.0/openelm}
[ -x "$program" ] || dotnet build -c Release "$root/src/OpenElm.Cli" >&2
mkdir -p "$2"
for model in ${MODELS:-270m 1.1b}; do
    for format in ${FORMATS:-F32 BF16 Q8_0 Q4_0 Q4_K_M}; do
        file=$2/openelm-$model-$format.gguf
        [ -f "$2/openelm-$model-F32.gguf" ] || "$program" convert --random "openelm-$model" "$2/openelm-$model-F32.gguf" --no-verify >&2
        [ -f "$file" ] || "$1/llama-quantize" "$2/openelm-$model-F32.gguf" "$file" "$format" >/dev/null 2>&1
    done
done
exec python3 "$root/benchmarks/compare_llama_cpp.py" "$program" "$1/llama-bench" "$2"
