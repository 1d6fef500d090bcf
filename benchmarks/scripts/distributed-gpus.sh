#!/usr/bin/env bash
# Several GPUs of one machine: losses against one GPU, weak scaling, full sharding, PyTorch's FSDP2 and DDP beside them.
#   OPENELM=path/to/openelm PEERS=folder/with/openelm.py,train_bench.py,distributed_bench.py OUT=results GPUS=4 distributed-gpus.sh
# On four GPUs or more, jobs of two ranks run two at a time, on a pair of GPUs each; on two GPUs one after another.
# Every command has a limit of its own and leaves its output in $OUT. Order: what matters most comes first.
set -uo pipefail
: "${OPENELM:?}" "${OUT:?}"; GPUS=${GPUS:-2}; PEERS=${PEERS:-}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl=self,vader OMPI_MCA_pml=ob1 OMPI_MCA_mca_base_component_show_load_errors=0 OMP_NUM_THREADS=8
ALL=$(seq -s, 0 $((GPUS - 1))); FIRST=0,1; SECOND=$([ "$GPUS" -ge 4 ] && echo 2,3 || echo 0,1)
T0=$(date +%s)
say() { echo "[$(( $(date +%s) - T0 )) s] $*"; }
# job DEVICES SECONDS NAME ARGUMENTS...: a rank on each device; one device runs without mpirun.
job() {
    local devices=$1 limit=$2 name=$3 launch=(); shift 3
    local n; n=$(tr ',' '\n' <<< "$devices" | wc -l)
    [ "$n" -gt 1 ] && launch=(mpirun -n "$n" --bind-to none --oversubscribe)
    say "$name on $devices"
    CUDA_VISIBLE_DEVICES=$devices timeout "$limit" ${launch[@]+"${launch[@]}"} "$OPENELM" "$@" > "$OUT/$name.json" 2> "$OUT/$name.log" || { say "$name failed ($?)"; tail -5 "$OUT/$name.log"; }
}
# beside COMMAND...: at the same time where the machine has a second pair of GPUs; `settle` waits.
beside() { if [ "$GPUS" -ge 4 ]; then "$@" & jobs_beside+=($!); else "$@"; fi; }
settle() { [ ${#jobs_beside[@]} -gt 0 ] && wait "${jobs_beside[@]}"; jobs_beside=(); }
jobs_beside=()
show() { for name in "$@"; do python3 - "$OUT/$name.json" "$name" <<'PY'
import json, sys
try:
    text = open(sys.argv[1]).read()
    d = json.loads(text[text.index('{'):])
    n = d.get('ranks', 1)
    print(f"{sys.argv[2]}: {d['tokens_per_second'] / n:,.0f} tokens/s a GPU, {d['step_milliseconds']:.2f} ms, host {d['host_milliseconds']:.1f} ms, {d['device_gigabytes']:.1f} GB, loss {d['first_loss']:.4f} {d['last_loss']:.4f}, norm {d['first_gradient_norm']:.4f}, {d['kernels']}")
    for k in d.get('kernel_times') or []:
        if 'nccl' in k['name'].lower(): print('   ', round(k['microseconds_per_step'] / 1000, 2), 'ms', k['calls_per_step'], k['name'][:60])
    if d.get('kernel_times'): print('    idle', round(d['idle_share'], 4), 'kernels', round(sum(k['microseconds_per_step'] for k in d['kernel_times']) / 1000, 2), 'ms')
except Exception as e:
    print(sys.argv[2], 'gave no result:', e)
PY
done; }
bench() { echo bench train --device cuda --kernels fused --json --vocab 32128 "$@"; }
small() { bench --size openelm-270m --warmup 4 --windows 5 "$@"; }
middle() { bench --size openelm-1.1b --warmup 3 --windows 3 --steps 5 "$@"; }
large() { bench --size openelm-3b --warmup 2 --windows 3 --steps 3 --micro-batch "${BATCH3B:-4}" --sharding parameters "$@"; }

nvidia-smi --query-gpu=name --format=csv,noheader; nvidia-smi topo -m | head -8
port=29500; declare -A PEER
# compile NAME ARGUMENTS...: starts a peer, which compiles while losses are compared and measures when `peer` lets it.
compile() { local name=$1; shift; [ -n "$PEERS" ] || return 0; port=$((port + 1)); PEER[$name]=$*; (cd "$PEERS"; timeout 330 torchrun --nproc-per-node "$GPUS" --master-port $port distributed_bench.py "$@" --wait "$OUT/go-$name" > "$OUT/peer-$name.json" 2> "$OUT/peer-$name.log" &); }
ready() { [ -n "$PEERS" ] && for _ in $(seq "$2"); do grep -q ready "$OUT/peer-$1.json" && break; pgrep -f "go-$1" > /dev/null || break; sleep 0.1; done; } # NAME TENTHS: waits that long at most until it has compiled
peer() { # NAME TENTHS: then lets it measure
    [ -n "$PEERS" ] || return
    ready "$1" "$2"
    if ! grep -q ready "$OUT/peer-$1.json" && ! pgrep -f "go-$1" > /dev/null; then
        say "peer $1 failed beside others and runs again, alone"; grep -E "Error" "$OUT/peer-$1.log" | head -1
        compile "$1" ${PEER[$1]}; sleep 1; ready "$1" 1400
    fi
    grep -q ready "$OUT/peer-$1.json" || { say "peer $1 has not compiled in time"; pkill -f "go-$1"; return; }
    touch "$OUT/go-$1"; say "peer $1"
    for _ in $(seq 400); do pgrep -f "go-$1" > /dev/null || break; sleep 0.1; done
    tail -1 "$OUT/peer-$1.json"; grep -E "Error|error" "$OUT/peer-$1.log" | tail -3
}
quickstart() { local name=$1; shift; echo pretrain configs/training/quickstart.yaml --device cuda --set trainer.steps=20 --set trainer.log_every=1 --set checkpoints.every=20 --set checkpoints.average_last=0 --set schedule.warmup_iterations=5 --set validation.bigram_baseline=false --set validation.max_batches=4 --set samples=null --set output="$OUT/run-$name" "$@"; }
losses() { local devices=$1 level=$2 name; name=losses-$2-$(tr ',' '\n' <<< "$1" | wc -l); job "$devices" 60 "$name" $(quickstart "$name" --set distributed.sharding="$level"); }

compile fsdp-1.1b --size 1.1b --how fsdp --steps 12
compile fsdp-3b --size 3b --how fsdp --steps 8 --batch "${BATCH3B:-4}"
say "losses against one GPU"
job 0 60 losses-one $(quickstart losses-one)
beside losses $FIRST none; beside losses $SECOND parameters; settle
[ "$GPUS" -gt 2 ] && for level in none parameters; do losses "$ALL" $level; done
beside losses $FIRST optimizer; beside losses $SECOND gradients; settle
python3 - "$OUT" <<'PY'
import json, sys, glob
def losses(run): return {d['step']: d['loss'] for d in map(json.loads, open(f'{run}/metrics.jsonl')) if d['kind'] == 'step'}
one = losses(sys.argv[1] + '/run-losses-one')
for run in sorted(glob.glob(sys.argv[1] + '/run-*')):
    other = losses(run)
    print(run.rsplit('/', 1)[1], len(other), 'updates, last loss', other[max(other)], 'largest relative difference', max(abs(one[s] - other[s]) / one[s] for s in one))
PY
ready fsdp-3b 1400; peer fsdp-1.1b 300; peer fsdp-3b 10 # none measures while another compiles

beside job 0 60 270m-1 $(small); beside job 1 60 1.1b-1 $(middle); beside job $SECOND 60 270m-none-2 $(small --profile --sharding none); settle
show 270m-1 1.1b-1 270m-none-2
if [ "$GPUS" -gt 2 ]; then
    job "$ALL" 60 270m-none-$GPUS $(small --profile --sharding none); job "$ALL" 60 1.1b-none-$GPUS $(middle --sharding none); job "$ALL" 60 3b-parameters-$GPUS $(large)
    show 270m-none-$GPUS 1.1b-none-$GPUS 3b-parameters-$GPUS
fi
beside job $FIRST 60 1.1b-none-2 $(middle --profile --sharding none); beside job $SECOND 60 1.1b-parameters-2 $(middle --sharding parameters); settle
show 1.1b-none-2 1.1b-parameters-2
beside job $FIRST 60 3b-parameters-2 $(large --profile); beside job $SECOND 60 270m-optimizer-2 $(small --sharding optimizer); settle
show 3b-parameters-2 270m-optimizer-2
beside job $FIRST 60 1.1b-optimizer-2 $(middle --sharding optimizer); NCCL_MAX_NCHANNELS=8 beside job $SECOND 60 270m-none-2-channels $(small --sharding none); settle
show 1.1b-optimizer-2 270m-none-2-channels
[ "$GPUS" -gt 2 ] && { job "$ALL" 60 270m-optimizer-$GPUS $(small --sharding optimizer); show 270m-optimizer-$GPUS; }
[ -n "${SHORT:-}" ] && { say done; exit; }
job $FIRST 60 1.1b-gradients-2 $(middle --sharding gradients); show 1.1b-gradients-2
compile ddp --size 270m --how ddp; peer ddp 1400
say done
