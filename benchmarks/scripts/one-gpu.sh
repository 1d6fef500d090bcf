#!/usr/bin/env bash
# One GPU: correctness first, then ours and the PyTorch peers in turn, in one go.
#   OPENELM=path/to/openelm PEERS=folder/with/openelm.py,train_bench.py,decode_bench.py OUT=results one-gpu.sh training|generation|tables|inference|all [SIZE...]
# tables, without peers: the paper's Tables 7 and 8, speculation, a cache of 8 bits, and batches of numbers that the peers' tables lack. inference: generation, then tables.
# SIZE: 270m, 450m, 1.1b, 3b; by default training takes 270m, 1.1b and, on a card of more than 100 GB, 3b, and generation all four. Without PEERS only ours are measured.
# All peers start at once and compile while the checks run. Each then waits for its turn (peers/wait.py) with its weights and optimizer on the card, and nothing else runs while one program measures.
# So what a peer chooses by timing (the one-row products of decode_bench.py) it chooses beside others. One that fails beside others, for lack of memory above all, runs again at its turn.
# Every command has a limit of its own and leaves its output in $OUT; a line of each goes to the terminal, and at the end what is missing.
# BATCHES: sequences of 1.1b side by side, beside the peer (8 64). PARTS: of what is checked of training (default: golden kernels passes). LIMIT: seconds for everything (default 560). COMPILING: seconds after which nobody waits for peers that compile; those stand still until their turn (240).
set -uo pipefail
PEERS=${PEERS:-}; LIMIT=${LIMIT:-560}; COMPILING=${COMPILING:-240}; BATCHES=${BATCHES-8 64}; WHAT=${1:-}; shift || true; SIZES=$*
case "$WHAT" in training | generation | tables | inference | all) ;; *) sed -n '3,5s/^# *//p' "$0" >&2; exit 2 ;; esac
: "${OPENELM:?}" "${OUT:?}"
mkdir -p "$OUT"; OUT=$(cd "$OUT" && pwd); HERE=$(cd "$(dirname "$0")" && pwd)
[ -z "$PEERS" ] || PEERS=$(cd "$PEERS" && pwd) || exit 2
# folder PATH: of the repository, or of a copy that has the scripts beside it; fails where there is none.
folder() { local up; for up in .. ../..; do [ -d "$HERE/$up/$1" ] && { echo "$HERE/$up/$1"; return; }; done; return 1; }
GOLDEN=${OPENELM_GOLDEN:-$(folder tests/Golden)}
export OUT PEERS TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-$OUT/inductor} TORCHINDUCTOR_COMPILE_THREADS=2
rm -f "$OUT"/go-*
T0=$(date +%s); MISSING=(); declare -A PROCESS COMMAND
past() { echo $(( $(date +%s) - T0 )); }
say() { echo "[$(past) s] $*"; }
missing() { say "$1: $2"; MISSING+=("$1: $2"); }
show() { echo -n "[$(past) s] $1: "; python3 "$HERE/results.py" show "$1"; }
# seconds MOST: how long a command may run; fails where it is too late for one.
seconds() { local left=$(( LIMIT - $(past) )); [ "$left" -gt 4 ] && echo $(( left < $1 ? left : $1 )); }
# ours NAME SECONDS ARGUMENTS...
ours() {
    local name=$1 limit; limit=$(seconds "$2") || { missing "$name" "no time"; return; }; shift 2
    timeout "$limit" "$OPENELM" "$@" --json > "$OUT/$name.json" 2> "$OUT/$name.log" || { missing "$name" "failed, $?"; tail -3 "$OUT/$name.log"; return; }
    show "$name"
}
# start NAME SCRIPT ARGUMENTS...: a peer that compiles, then waits.
start() {
    local name=$1; shift
    [ -n "$PEERS" ] || return 0
    COMMAND[$name]=$*
    (cd "$PEERS" && exec timeout "$LIMIT" python3 "$HERE/../peers/wait.py" "$OUT/go-$name" "$@") > "$OUT/$name.json" 2> "$OUT/$name.log" &
    PROCESS[$name]=$!
}
alive() { [ -n "${PROCESS[$1]:-}" ] && kill -0 "${PROCESS[$1]}" 2> /dev/null; }
is_ready() { grep -q '^ready' "$OUT/$1.log"; }
# peer NAME SECONDS: lets it measure, and waits until it has ended.
peer() {
    local name=$1 limit code=0
    [ -n "$PEERS" ] || return 0
    limit=$(seconds "$2") || { missing "$name" "no time"; return; }
    if alive "$name"; then
        touch "$OUT/go-$name"; kill -CONT -- "-${PROCESS[$name]}"
        for _ in $(seq $(( limit * 10 ))); do alive "$name" || break; sleep 0.1; done
        alive "$name" && kill "${PROCESS[$name]}"
        wait "${PROCESS[$name]}" 2> /dev/null || code=$?
    else
        [ -z "${PROCESS[$name]:-}" ] || { say "$name failed beside the others and runs again: $(tail -1 "$OUT/$name.log")"; mv "$OUT/$name.log" "$OUT/$name-first.log"; }
        (cd "$PEERS" && exec timeout "$limit" python3 ${COMMAND[$name]}) > "$OUT/$name.json" 2> "$OUT/$name.log" || code=$?
    fi
    [ "$code" = 0 ] || { missing "$name" "failed, $code"; tail -3 "$OUT/$name.log"; return; }
    show "$name"
}
check() {
    local name limit stories model=(); name=verify-$(echo "$*" | tr -c 'a-z0-9\n' '-')
    limit=$(seconds 200) || { missing "$name" "no time"; return; }
    if [ "$2" = inference ] && stories=$(folder samples/stories260k); then model=(--model "$stories"); fi
    timeout "$limit" "$OPENELM" verify "$GOLDEN" --device cuda "$@" ${model[@]+"${model[@]}"} > "$OUT/$name.txt" 2> "$OUT/$name.log" || missing "$name" "failed, $?"
    say "verify $*: $(tail -1 "$OUT/$name.txt")"
}

# Greedy text of a trained model in single precision: token by token the processor's.
same_text() {
    local model device; model=$(folder samples/stories260k) || { missing same-text "no samples/stories260k"; return; }
    for device in cpu cuda; do
        timeout 60 "$OPENELM" generate "$model" --prompt "Once upon a time" --temperature 0 --max-tokens 300 --precision Fp32 --device $device > "$OUT/stories-$device.txt" 2> "$OUT/stories-$device.log" || { missing same-text "failed on $device"; return; }
    done
    grep "computing on the processor" "$OUT/stories-cuda.log" && { missing same-text "there is no usable GPU"; return; }
    cmp -s "$OUT/stories-cpu.txt" "$OUT/stories-cuda.txt" && [ -s "$OUT/stories-cpu.txt" ] && say "greedy text of stories260K: the same" || missing same-text "the GPU's differs: $OUT/stories-cuda.txt"
}
# What proposals gain on the trained model of the repository, where it is there.
speculation() {
    local model; model=$(folder models/books-46m) || { missing speculation "no models/books-46m"; return; }
    ours speculation 90 bench "$model" --device cuda --prompt-lookup 10
}

start_training() {
    local size
    for size in $TRAINED; do
        local run="train_bench.py --sizes $size --steps 50" name=train-$size-peer
        if [ "$size" = 3b ]; then # takes 94 GB: beside nothing
            run="train_bench.py --sizes 3b --steps 20"; COMMAND[$name]=$run; COMMAND[$name-checkpointed]="$run --checkpoint"
            continue
        fi
        start "$name" $run
        start "$name-checkpointed" $run --checkpoint
        [ "$size" != 270m ] || start "$name-autocast" $run --precision autocast
    done
}
start_generation() {
    local size batch
    for size in $GENERATING; do
        start "generate-$size-peer" decode_bench.py --sizes "$size"
        [ "$size" != 1.1b ] || for batch in $BATCHES; do start "generate-1.1b-batch-$batch-peer" decode_bench.py --sizes 1.1b --batches $batch; done
    done
}
training() {
    local size
    for size in $TRAINED; do
        local steps=10
        [ "$size" != 3b ] || steps=4
        train() { local name=$1; shift; ours "$name" 90 bench train --device cuda --kernels fused --vocab 32128 --warmup 6 --windows 5 --steps $steps --size "openelm-$size" "$@"; }
        train "train-$size" --profile
        peer "train-$size-peer" 200
        train "train-$size-again"
        train "train-$size-checkpointed" --activation-checkpointing
        peer "train-$size-peer-checkpointed" 200
        train "train-$size-fp8" --fp8-products
        [ "$size" != 270m ] || { train train-270m-autocast --precision autocast; peer train-270m-peer-autocast 200; }
    done
}
generation() {
    local speed="bench throughput --device cuda --prompt 1024 --generate 1024" size batch weights
    for size in $GENERATING; do
        ours "generate-$size" 60 $speed --sizes "openelm-$size" --profile
        peer "generate-$size-peer" 200
        ours "generate-$size-again" 60 $speed --sizes "openelm-$size"
        for weights in q8_0 q4_0; do ours "generate-$size-$weights" 60 $speed --sizes "openelm-$size" --weights $weights; done
        [ "$size" != 1.1b ] || for batch in $BATCHES; do
            ours "generate-1.1b-batch-$batch" 90 $speed --sizes openelm-1.1b --batch $batch
            peer "generate-1.1b-batch-$batch-peer" 200
        done
    done
}

tables() {
    local speed="bench throughput --device cuda --prompt 1024 --generate 512" size batch
    ours table-7 120 bench throughput --device cuda
    ours table-8 180 bench norms --device cuda --generate 128 --rounds 3
    speculation
    for size in $TABLED; do ours "generate-$size-kv8" 60 $speed --sizes "openelm-$size" --kv I8; done
    for batch in 9 12 16; do ours "generate-1.1b-batch-$batch" 60 $speed --sizes openelm-1.1b --batch $batch; done
}

CARD=$(nvidia-smi --query-gpu=memory.total --format=csv,noheader,nounits | head -1); CARD=$(( ${CARD:?} * 1048576 / 1000000000 ))
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
TRAINED= GENERATING= TABLED=
case "$WHAT" in training | all) TRAINED=${SIZES:-270m 1.1b 3b} ;; esac
case "$WHAT" in generation | inference | all) GENERATING=${SIZES:-270m 450m 1.1b 3b} ;; esac
case "$WHAT" in tables | inference | all) TABLED=${SIZES:-270m 450m 1.1b 3b} ;; esac
if [[ " $TRAINED " == *" 3b "* ]]; then # last, when nothing else is on the card
    TRAINED=$(tr ' ' '\n' <<< "$TRAINED" | grep -vx 3b | xargs)
    if [ "$CARD" -gt 100 ]; then TRAINED="$TRAINED 3b"; else missing train-3b "takes 84 to 94 GB, the card has $CARD"; fi
fi
trap 'for name in "${!PROCESS[@]}"; do alive "$name" && { kill "${PROCESS[$name]}"; kill -CONT -- "-${PROCESS[$name]}"; }; done' EXIT
start_training; start_generation
[ -z "$TRAINED" ] || for part in ${PARTS-golden kernels passes}; do check --runtime training --part $part; done
[ -z "$GENERATING$TABLED" ] || { check --runtime inference; same_text; }
for name in "${!PROCESS[@]}"; do
    while alive "$name" && ! is_ready "$name" && [ "$(past)" -lt "$COMPILING" ]; do sleep 0.5; done
    is_ready "$name" || { say "$name is not ready"; ! alive "$name" || kill -STOP -- "-${PROCESS[$name]}"; } # timeout leads a process group
done
say "measuring"
generation
training
[ -z "$TABLED" ] || tables
python3 "$HERE/results.py" ratios "$TRAINED" "$GENERATING"
for name in ${MISSING[@]+"${MISSING[@]}"}; do echo "missing: $name"; done
say done
