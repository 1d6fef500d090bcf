#!/bin/sh
# Training tokens per second: ours, the same model written plainly in TorchSharp, and in Debian's PyTorch, taking turns.
# Needs python3-torch and libopenblas0-pthread (its default BLAS is a slow reference implementation).
# Usage: benchmarks/compare-training.sh [rounds] [peer's python]; each round is three turns of each.
set -eu
cd "$(dirname "$0")/.."
rounds=${1:-3}
python=${2:-/usr/bin/python3}
dotnet build -c Release -v quiet --nologo benchmarks/OpenElm.Benchmarks >/dev/null
round=1
while [ "$round" -le "$rounds" ]; do
    echo "== round $round: OpenElm and plain TorchSharp"
    dotnet run -c Release --no-build --project benchmarks/OpenElm.Benchmarks -- training 3
    echo "== round $round: PyTorch"
    "$python" benchmarks/peers/torch_train.py 3
    round=$((round + 1))
done
