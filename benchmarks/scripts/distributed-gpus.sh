#!/usr/bin/env bash
# Several GPUs of one machine: losses against one GPU, weak scaling, full sharding, PyTorch's DDP and FSDP2 beside them.
#   OPENELM=path/to/openelm PEERS=folder/with/openelm.py,train_bench.py,distributed_bench.py OUT=results GPUS=2 distributed-gpus.sh
# Every command has a limit of its own and leaves its output in $OUT. Order: what matters most comes first.
set -uo pipefail
: "${OPENELM:?}" "${OUT:?}"; GPUS=${GPUS:-2}; PEERS=${PEERS:-}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl=self,vader OMPI_MCA_pml=ob1 OMPI_MCA_mca_base_component_show_load_errors=0 OMP_NUM_THREADS=8
T0=$(date +%s)
say() { echo "[$(( $(date +%s) - T0 )) s] $*"; }
# job RANKS SECONDS NAME ARGUMENTS...
job() { local n=$1 limit=$2 name=$3; shift 3; say "$name"; timeout "$limit" mpirun -n "$n" --bind-to none --oversubscribe "$OPENELM" "$@" > "$OUT/$name.json" 2> "$OUT/$name.log" || { say "$name failed ($?)"; tail -5 "$OUT/$name.log"; }; }
alone() { local gpu=$1 limit=$2 name=$3; shift 3; CUDA_VISIBLE_DEVICES=$gpu timeout "$limit" "$OPENELM" "$@" > "$OUT/$name.json" 2> "$OUT/$name.log" || { say "$name failed ($?)"; tail -5 "$OUT/$name.log"; }; }
show() { for name in "$@"; do python3 - "$OUT/$name.json" "$name" <<'PY'
import json, sys
try:
    d = json.loads(open(sys.argv[1]).read().strip().split('\n')[-1])
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

nvidia-smi --query-gpu=name --format=csv,noheader; nvidia-smi topo -m | head -8
if [ -n "$PEERS" ]; then # they compile while losses are compared
    (cd "$PEERS"; timeout 200 torchrun --nproc-per-node "$GPUS" --master-port 29501 distributed_bench.py --size 270m --how ddp --wait "$OUT/go-ddp" > "$OUT/peer-ddp.json" 2> "$OUT/peer-ddp.log" &)
    (cd "$PEERS"; timeout 200 torchrun --nproc-per-node "$GPUS" --master-port 29502 distributed_bench.py --size 1.1b --how fsdp --steps 12 --wait "$OUT/go-fsdp" > "$OUT/peer-fsdp.json" 2> "$OUT/peer-fsdp.log" &)
fi
peer() { # waits until it has compiled, then lets it measure
    [ -n "$PEERS" ] || return
    for i in $(seq "$2"); do grep -q ready "$OUT/peer-$1.json" && break; pgrep -f "how $1" > /dev/null || break; sleep 0.1; done
    touch "$OUT/go-$1"; say "peer $1"
    for i in $(seq 250); do pgrep -f "how $1" > /dev/null || break; sleep 0.1; done
    tail -1 "$OUT/peer-$1.json"; grep -E "Error|error" "$OUT/peer-$1.log" | tail -3
}
quickstart() { local name=$1; shift; echo pretrain configs/training/quickstart.yaml --device cuda --set trainer.steps=20 --set trainer.log_every=1 --set checkpoints.every=20 --set checkpoints.average_last=0 --set schedule.warmup_iterations=5 --set validation.bigram_baseline=false --set validation.max_batches=4 --set samples=null --set output="$OUT/run-$name" "$@"; }

say "losses against one GPU"
alone 0 40 losses-1 $(quickstart 1)
job "$GPUS" 40 losses-none $(quickstart none)
job "$GPUS" 40 losses-parameters $(quickstart parameters --set distributed.sharding=parameters)
peer ddp 700
job "$GPUS" 40 losses-optimizer $(quickstart optimizer --set distributed.sharding=optimizer)
job "$GPUS" 40 losses-gradients $(quickstart gradients --set distributed.sharding=gradients)
python3 - "$OUT" <<'PY'
import json, sys, glob
def losses(run): return {d['step']: d['loss'] for d in map(json.loads, open(f'{run}/metrics.jsonl')) if d['kind'] == 'step'}
one = losses(sys.argv[1] + '/run-1')
for run in sorted(glob.glob(sys.argv[1] + '/run-*')):
    other = losses(run)
    print(run.rsplit('/', 1)[1], len(other), 'updates, last loss', other[max(other)], 'largest relative difference', max(abs(one[s] - other[s]) / one[s] for s in one))
PY
peer fsdp 600

alone 0 60 270m-1 $(bench --size openelm-270m --warmup 4 --windows 5) &
alone 1 60 1.1b-1 $(bench --size openelm-1.1b --warmup 3 --windows 3 --steps 5) &
wait
show 270m-1 1.1b-1
job "$GPUS" 40 270m-none $(bench --size openelm-270m --warmup 4 --windows 5 --profile); show 270m-none
job "$GPUS" 50 1.1b-none $(bench --size openelm-1.1b --warmup 3 --windows 3 --steps 5 --profile); show 1.1b-none
job "$GPUS" 50 3b-parameters $(bench --size openelm-3b --warmup 2 --windows 3 --steps 3 --micro-batch "${BATCH3B:-4}" --sharding parameters --profile); show 3b-parameters
job "$GPUS" 50 1.1b-parameters $(bench --size openelm-1.1b --warmup 3 --windows 3 --steps 5 --sharding parameters); show 1.1b-parameters
[ -n "${SHORT:-}" ] && { say done; exit; }
for level in optimizer gradients; do job "$GPUS" 60 "1.1b-$level" $(bench --size openelm-1.1b --warmup 3 --windows 3 --steps 5 --sharding $level); show "1.1b-$level"; done
job 1 40 270m-nccl-1 $(bench --size openelm-270m --warmup 4 --windows 3); show 270m-nccl-1
CUDA_VISIBLE_DEVICES=0 job 2 60 270m-shared $(bench --size openelm-270m --micro-batch 4 --warmup 2 --windows 2 --steps 3); show 270m-shared
say done
