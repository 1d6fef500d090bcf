#!/bin/sh
# Our quantiser beside llama.cpp's llama-quantize: errors of every format, with and without importance, and perplexity of the files.
#
#   benchmarks/quantization/compare-llama-quantize.sh LLAMA_CPP_FOLDER MODEL [CALIBRATION_TEXT HELD_OUT_TEXT [TOKENS]]
#
# MODEL: a model of any format that GGUF can express, or the name of a shipped architecture (openelm-270m: random weights).
# Prints Markdown tables; exits with 1 if any matrix is worse than llama.cpp's.
set -eu
cd "$(dirname "$0")/../.."
dotnet build -c Release -v quiet --nologo benchmarks/OpenElm.Benchmarks >/dev/null
exec dotnet run -c Release --no-build --project benchmarks/OpenElm.Benchmarks -- quantization "$@"
