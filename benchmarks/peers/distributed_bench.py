"""The peer of distributed training: DDP or FSDP2 around the PyTorch OpenELM of openelm.py and train_bench.py (in the same folder).

    torchrun --nproc-per-node 2 distributed_bench.py --size 270m --how ddp
    torchrun --nproc-per-node 2 distributed_bench.py --size 3b --how fsdp --batch 4

DDP: bf16 weights and gradients, fp32 masters, gradients reduced in bf16. FSDP2: fp32 shards, gathered in bf16, gradients
reduced in fp32. Both compiled. With --wait FILE nothing is measured before that file exists, so that compiling can overlap with other work.
"""
import argparse
import json
import os
import pathlib
import statistics
import time

import torch
import torch.distributed as dist
import torch.nn as nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from openelm import OpenELM, config
from train_bench import FusedLinearLoss, MasterAdamW, TorchAdamW


class WithLoss(nn.Module):
    def __init__(self, model, compiled):
        super().__init__()
        self.model = model
        self.trunk = torch.compile(model.hidden, fullgraph=True, dynamic=False) if compiled else model.hidden

    def forward(self, ids, targets):
        x = self.trunk(ids)
        return FusedLinearLoss.apply(x.flatten(0, 1), self.model.token_embeddings.weight, targets.flatten(), self.model.cfg.ignore_index, 1e-4, 0)[0]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--size", default="270m")
    ap.add_argument("--how", choices=["ddp", "fsdp"], default="ddp")
    ap.add_argument("--batch", type=int, default=8)
    ap.add_argument("--seq", type=int, default=2048)
    ap.add_argument("--warmup", type=int, default=5)
    ap.add_argument("--steps", type=int, default=20)
    ap.add_argument("--checkpoint", action="store_true")
    ap.add_argument("--wait")
    a = ap.parse_args()
    torch._dynamo.config.recompile_limit = 256  # layers differ in their widths
    rank = int(os.environ["LOCAL_RANK"])
    torch.cuda.set_device(rank)
    dist.init_process_group("nccl")
    cfg = config(a.size)
    with torch.device("cuda"):
        model = OpenELM(cfg, "fused", a.checkpoint)
        model = (model.bfloat16() if a.how == "ddp" else model).init()
    if a.how == "ddp":
        params = list(model.parameters())
        optimizer = MasterAdamW(params, 1e-4)
        step_model = DistributedDataParallel(WithLoss(model, compiled=True), device_ids=[rank], gradient_as_bucket_view=True)
    else:
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
        for layer in model.layers:
            layer.compile(fullgraph=True)
            fully_shard(layer, mp_policy=policy)
        step_model = WithLoss(model, compiled=False)
        fully_shard(step_model, mp_policy=policy, reshard_after_forward=False)
        optimizer = TorchAdamW(list(step_model.parameters()), 1e-4)
    g = torch.Generator("cuda").manual_seed(1 + rank)
    batches = [torch.randint(3, 32000, (a.batch, a.seq + 1), device="cuda", generator=g) for _ in range(4)]

    def step(i):
        loss = step_model(batches[i % 4][:, :-1], batches[i % 4][:, 1:])
        loss.backward()
        optimizer.step(1.0)
        optimizer.zero_grad()
        return loss.detach()

    t = time.perf_counter()
    first = step(0).item()
    start_s = time.perf_counter() - t
    for i in range(1, a.warmup):
        step(i)
    torch.cuda.synchronize()
    torch.cuda.empty_cache()  # for programs that compile meanwhile
    if rank == 0:
        print(f"{a.how} {a.size} ready after {start_s:.0f} s", flush=True)
    while a.wait and not pathlib.Path(a.wait).exists():
        time.sleep(0.1)
    dist.barrier()
    for i in range(2):
        step(i)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(a.steps + 1)]
    marks[0].record()
    for i in range(a.steps):
        last = step(i)
        marks[i + 1].record()
    torch.cuda.synchronize()
    ms = [marks[i].elapsed_time(marks[i + 1]) for i in range(a.steps)]
    if rank == 0:
        median = statistics.median(ms) / 1e3
        tokens = a.batch * a.seq
        print(json.dumps({
            "bench": "distributed", "how": a.how, "size": a.size, "ranks": dist.get_world_size(), "batch": a.batch, "checkpoint": a.checkpoint,
            "tok_s_per_gpu": round(tokens / median), "step_ms": round(median * 1e3, 2), "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2),
            "first_step_s": round(start_s, 1), "loss_first": round(first, 4), "loss_last": round(last.item(), 4), "gpu": torch.cuda.get_device_name()}), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
