#!/usr/bin/env bash
# One GPU: correctness first, then ours and the PyTorch peers in turn, in one go.
#   OPENELM=path/to/openelm PEERS=folder/with/openelm.py,train_bench.py,decode_bench.py OUT=results one-gpu.sh training|generation [SIZE...]
# SIZE: 270m, 450m, 1.1b, 3b. While the checks run, the peers compile (their results are thrown away); what they measure later comes from the compiler's cache.
# Every command has a limit of its own and leaves its output in $OUT, a line of each goes to the terminal. LIMIT: seconds after which nothing is started (default 560).
set -uo pipefail
PEERS=${PEERS:-}; LIMIT=${LIMIT:-560}; WHAT=${1:-}; shift || true
case "$WHAT" in training) SIZES=${*:-270m 1.1b} ;; generation) SIZES=${*:-270m 450m 1.1b 3b} ;; *) sed -n '3,4s/^# *//p' "$0" >&2; exit 2 ;; esac
: "${OPENELM:?}" "${OUT:?}"
GOLDEN=${OPENELM_GOLDEN:-$(cd "$(dirname "$0")/.." && pwd)/tests/Golden}; [ -d "$GOLDEN" ] || GOLDEN=$(cd "$(dirname "$0")/../.." && pwd)/tests/Golden
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-$OUT/inductor}
T0=$(date +%s)
say() { echo "[$(( $(date +%s) - T0 )) s] $*"; }
in_time() { [ $(( $(date +%s) - T0 )) -lt "$LIMIT" ] || { say "no time for $1"; return 1; }; }
# ours NAME SECONDS ARGUMENTS...
ours() { local name=$1 limit=$2; shift 2; in_time "$name" || return 0; timeout "$limit" "$OPENELM" "$@" --json > "$OUT/$name.json" 2> "$OUT/$name.log" || { say "$name failed ($?)"; tail -3 "$OUT/$name.log"; }; show "$name"; }
# peer NAME SECONDS SCRIPT ARGUMENTS...
peer() { local name=$1 limit=$2; shift 2; [ -n "$PEERS" ] || return 0; in_time "$name" || return 0; (cd "$PEERS" && timeout "$limit" python3 "$@") > "$OUT/$name.json" 2> "$OUT/$name.log" || { say "$name failed ($?)"; tail -3 "$OUT/$name.log"; }; show "$name"; }
# compile SCRIPT ARGUMENTS...: one after the other, in the background.
compile() { (cd "$PEERS" && timeout 300 python3 "$@" > /dev/null 2>> "$OUT/compile.log"); }
show() { echo -n "[$(( $(date +%s) - T0 )) s] $1: "; python3 - "$OUT/$1.json" <<'PY'
import json, sys
text, found = open(sys.argv[1]).read(), False
documents, at = [], 0
while (start := min((i for i in (text.find('{', at), text.find('[', at)) if i >= 0), default=-1)) >= 0:
    try:
        document, at = json.JSONDecoder().raw_decode(text, start)
        documents += document if isinstance(document, list) else [document]
    except json.JSONDecodeError:
        at = start + 1
for d in documents:
    if 'tokens_per_second' in d:
        print(f"{d['tokens_per_second']:,.0f} tokens/s, {d['step_milliseconds']:.2f} ms, {d['utilisation']:.1%} of peak, {d['device_gigabytes']:.2f} GB (planned {d['planned_gigabytes']:.2f}), host {d['host_milliseconds']:.1f} ms, idle {d['idle_share']:.2%}")
    elif d.get('bench') == 'train':
        print(f"{d['tok_s']:,} tokens/s, {d['step_ms']:.2f} ms, {d['mfu']:.1%} of peak, {d['peak_gb']:.2f} GB")
    elif 'rows' in d:
        for row in d['rows']:
            print('; '.join(f"{name.replace('_', ' ')} {value:,.3g}" if isinstance(value, float) and value < 1 else f"{name.replace('_', ' ')} {value:,.0f}" if isinstance(value, float) else str(value)
                for name, value in row.items() if isinstance(value, (float, str))))
    else:
        print(json.dumps({name: value for name, value in d.items() if not isinstance(value, (list, dict))}))
    found = True
if not found:
    print('no result')
PY
}
check() { say "checks: $*"; timeout 200 "$OPENELM" verify "$GOLDEN" --device cuda "$@" > "$OUT/verify-$(echo "$*" | tr -c 'a-z0-9\n' '-').txt" 2>&1; tail -1 "$OUT/verify-$(echo "$*" | tr -c 'a-z0-9\n' '-').txt"; }

training() {
    for size in $SIZES; do
        local steps=10 windows=5 peer_steps=50
        [ "$size" = 3b ] && { steps=4; peer_steps=20; }
        train() { local name=$1; shift; ours "$name" 90 bench train --device cuda --kernels fused --vocab 32128 --warmup 6 --windows $windows --steps $steps --size "openelm-$size" "$@"; }
        python() { local name=$1; shift; peer "$name" 200 train_bench.py --sizes "$size" --steps $peer_steps "$@"; }
        python "$size-peer"
        train "$size" --profile
        train "$size-swiglu-in-products" --profile --swiglu-in-products
        python "$size-peer-again"
        train "$size-fp8" --fp8-products
        python "$size-peer-checkpointed" --checkpoint
        train "$size-checkpointed" --activation-checkpointing
        [ "$size" = 270m ] && { python "$size-peer-autocast" --precision autocast; train "$size-autocast" --precision autocast; }
    done
}
generation() {
    local speed="bench throughput --device cuda --prompt 1024 --generate 1024"
    for size in $SIZES; do
        ours "$size" 60 $speed --sizes "openelm-$size" --profile
        peer "$size-peer" 200 decode_bench.py --sizes "$size"
        ours "$size-again" 60 $speed --sizes "openelm-$size"
        for weights in q8_0 q4_0; do ours "$size-$weights" 60 $speed --sizes "openelm-$size" --weights $weights; done
        [ "$size" = 1.1b ] && for batch in 8 64; do ours "$size-batch-$batch" 60 bench throughput --device cuda --prompt 1024 --generate 128 --sizes openelm-1.1b --batch $batch; peer "$size-peer-batch-$batch" 200 decode_bench.py --sizes 1.1b --batches $batch; done
    done
    ours table-7 120 bench throughput --device cuda
    ours table-8 120 bench norms --device cuda
}

nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
if [ -n "$PEERS" ]; then
    for size in $SIZES; do
        if [ "$WHAT" = training ]; then compile train_bench.py --sizes "$size" --steps 1 --warmup 1; else compile decode_bench.py --sizes "$size" --repeats 1 --bandwidth-gib 1; fi
    done &
    compiling=$!
fi
if [ "$WHAT" = training ]; then for part in golden kernels passes; do check --runtime training --part $part; done; else check --runtime inference; fi
[ -n "$PEERS" ] && wait "$compiling"; say "peers have compiled"
find "$TORCHINDUCTOR_CACHE_DIR" -name '*.best_config' -delete 2> /dev/null # what was chosen while others used the GPU
$WHAT
say done
