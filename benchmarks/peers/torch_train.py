#!/usr/bin/python3
"""Training tokens per second of the benchmark's model written plainly in PyTorch.

Run with Debian's Python, python3-torch and libopenblas0-pthread: /usr/bin/python3 benchmarks/peers/torch_train.py [turns]
The widths are those of benchmarks/OpenElm.Benchmarks/Training/TrainingStepBenchmark.cs, printed by its first line.
"""
import math
import os
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

VOCAB, SEQ, BATCH, LAYERS, D, HEAD = 8192, 256, 8, 6, 256, 64
STEPS_PER_TURN = 3


def make_divisible(value, divisor):
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def layer_shapes():
    """Layer-wise scaling: alpha 0.5..1.0, beta 0.5..4.0, two query heads for each KV head, FFN divisor 64."""
    shapes = []
    for i in range(LAYERS):
        alpha = round(0.5 + 0.5 * i / (LAYERS - 1), 2)
        beta = round(0.5 + 3.5 * i / (LAYERS - 1), 2)
        heads = make_divisible(D * alpha, HEAD * 2) // HEAD
        shapes.append((heads, heads // 2, make_divisible(beta * D, 64)))
    return shapes


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


def rotate(x, cos, sin):
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


class Layer(nn.Module):
    def __init__(self, queries, kvs, ffn):
        super().__init__()
        self.queries, self.kvs = queries, kvs
        self.attn_norm, self.ffn_norm = RMSNorm(D), RMSNorm(D)
        self.q_norm, self.k_norm = RMSNorm(HEAD), RMSNorm(HEAD)
        self.qkv = nn.Linear(D, (queries + 2 * kvs) * HEAD, bias=False)
        self.out = nn.Linear(queries * HEAD, D, bias=False)
        self.proj_1, self.proj_2 = nn.Linear(D, 2 * ffn, bias=False), nn.Linear(ffn, D, bias=False)

    def forward(self, x, cos, sin, mask):
        b, s, _ = x.shape
        heads = self.qkv(self.attn_norm(x)).view(b, s, -1, HEAD).transpose(1, 2)
        q, k, v = heads.split([self.queries, self.kvs, self.kvs], 1)
        q, k = rotate(self.q_norm(q), cos, sin), rotate(self.k_norm(k), cos, sin)
        k, v = (t.repeat_interleave(self.queries // self.kvs, 1) for t in (k, v))
        if hasattr(F, "scaled_dot_product_attention"):
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:  # before 2.0
            y = (q @ k.transpose(2, 3) / math.sqrt(HEAD)).masked_fill(mask, -math.inf).softmax(-1) @ v
        x = x + self.out(y.transpose(1, 2).reshape(b, s, -1))
        gate, up = self.proj_1(self.ffn_norm(x)).chunk(2, -1)
        return x + self.proj_2(F.silu(gate) * up)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, D)
        self.layers = nn.ModuleList(Layer(*shape) for shape in layer_shapes())
        self.norm = RMSNorm(D)
        angles = torch.outer(torch.arange(SEQ).float(), 10000 ** (-torch.arange(0, HEAD, 2) / HEAD)).repeat(1, 2)
        self.cos, self.sin = angles.cos(), angles.sin()
        self.mask = torch.ones(SEQ, SEQ, dtype=torch.bool).triu(1)

    def forward(self, ids):
        x = self.embedding(ids)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin, self.mask)
        return F.linear(self.norm(x), self.embedding.weight)


def blas_name():
    info = torch.__config__.show()
    named = [part.split("=")[1] for part in info.replace(",", "\n").split() if part.startswith("BLAS_INFO=")]
    maps = open("/proc/self/maps").read() if os.path.exists("/proc/self/maps") else ""
    loaded = sorted({os.path.realpath(line.split()[-1]) for line in maps.splitlines() if "blas" in line or "mkl" in line})
    return f"{named[0] if named else 'unknown'}; loaded: {', '.join(loaded) or 'linked in'}"


def matmul_rate():
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    best = math.inf
    for _ in range(10):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return 2 * 1024**3 / best / 1e9


def main():
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    torch.manual_seed(1)
    model = Model()
    for parameter in model.parameters():
        if parameter.dim() >= 2:
            nn.init.normal_(parameter, 0, D**-0.5)
    print(f"torch {torch.__version__}, {blas_name()}, {torch.get_num_threads()} threads; {matmul_rate():.0f} GFLOP/s (1024^3, fp32)")
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, batch {BATCH} x {SEQ}")
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8)

    def step():
        tokens = torch.randint(VOCAB, (BATCH, SEQ + 1))
        optimizer.zero_grad()
        logits = model(tokens[:, :-1]).view(-1, VOCAB)
        loss = F.cross_entropy(logits, tokens[:, 1:].reshape(-1)) + 1e-4 * logits.logsumexp(-1).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    for turn in range(turns + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(STEPS_PER_TURN):
            step()
        tokens = STEPS_PER_TURN * BATCH * SEQ
        if turn > 0:  # the first turn warms up
            print(f"turn {turn}: {tokens / (time.perf_counter() - wall):,.0f} tokens/s ({tokens / (time.process_time() - cpu):,.0f} per processor second)")


if __name__ == "__main__":
    main()
