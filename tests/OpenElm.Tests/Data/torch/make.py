"""Makes the files of this folder: CoreNet's checkpoints as torch writes them. Run with torch 1.13 (Debian's python3-torch):

    python3 make.py

Every tensor holds the whole numbers ((7 i + 13 k) mod 128) - 64 at element i, k being its place in the list below.
"""
import collections
import pickle
import zipfile

import torch

VOCAB, D, H, LAYERS = 11, 16, 4, [(2, 1, 8), (4, 2, 12)]  # query heads, KV heads, feed-forward width


def shapes():
    yield "token_embeddings.weight", (VOCAB, D)
    for i, (q, kv, ffn) in enumerate(LAYERS):
        yield f"layers.{i}.attn_norm.weight", (D,)
        yield f"layers.{i}.attn.qkv_proj.weight", ((q + 2 * kv) * H, D)
        yield f"layers.{i}.attn.q_norm.weight", (H,)
        yield f"layers.{i}.attn.k_norm.weight", (H,)
        yield f"layers.{i}.attn.out_proj.weight", (D, q * H)
        yield f"layers.{i}.ffn_norm.weight", (D,)
        yield f"layers.{i}.ffn.proj_1.weight", (2 * ffn, D)
        yield f"layers.{i}.ffn.proj_2.weight", (D, ffn)
    yield "norm.weight", (D,)


class Model(torch.nn.Module):
    """Parameters under nested names, so that the state dict has torch's own form, with its _metadata."""

    def __init__(self):
        super().__init__()
        for k, (name, shape) in enumerate(shapes()):
            *path, last = name.split(".")
            module = self
            for part in path:
                if part not in module._modules:
                    module.add_module(part, torch.nn.Module())
                module = module._modules[part]
            count = torch.Size(shape).numel()
            module.register_parameter(last, torch.nn.Parameter((((7 * torch.arange(count) + 13 * k) % 128) - 64).float().reshape(shape)))


torch.manual_seed(1)
model = Model()
state = model.state_dict()
torch.save(state, "state-dict.pt")

optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
sum(p.sum() for p in model.parameters()).backward()
optimizer.step()
torch.save({
    "iterations": 4999, "epoch": 0, "model_state_dict": state, "optim_state_dict": optimizer.state_dict(),
    "best_metric": torch.tensor(3.5).double().numpy()[()], "is_interval_ckpt": True,
    "gradient_scaler_state_dict": {"scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000, "_growth_tracker": 0},
}, "training.pt")

# Inside DistributedDataParallel, in other types, and tensors that are windows on others or lie transposed.
wrapped = collections.OrderedDict()
for i, (name, tensor) in enumerate(state.items()):
    if name.endswith("proj_2.weight"):
        tensor = tensor.t().contiguous().t()
    elif name.endswith("out_proj.weight"):
        tensor = torch.cat([torch.zeros(3, tensor.shape[1]), tensor])[3:]
    elif name.endswith("proj_1.weight"):
        tensor = tensor.half()
    elif name.endswith("qkv_proj.weight"):
        tensor = tensor.bfloat16()
    elif name.endswith("attn_norm.weight"):
        tensor = torch.nn.Parameter(tensor.double())
    wrapped["module." + name] = tensor
torch.save(wrapped, "wrapped.pt")
torch.save(state, "protocol-4.pt", pickle_protocol=4)


class Hostile:
    def __reduce__(self):
        import os
        return os.system, ("echo this must not run > hostile-ran",)


with zipfile.ZipFile("hostile.pt", "w") as z:
    z.writestr("hostile/data.pkl", pickle.dumps({"token_embeddings.weight": Hostile()}, protocol=2))
    z.writestr("hostile/version", "3\n")
