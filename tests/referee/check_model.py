#!/usr/bin/env python3
"""The referee's own forward pass against numbers of others: the reference implementation's logits (tests/Golden) and llama2.c's (samples/stories260k)."""
import json
import os
import sys

import numpy as np

import model as models

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
ALLOWED = 2e-5  # nats; the others computed in single precision


def reference(name):
    """The largest difference of log-probabilities on a small random OpenELM."""
    with open(os.path.join(ROOT, "tests", "Golden", "golden.json")) as file:
        entry = json.load(file)[name]
    tensors = models.read_safetensors(os.path.join(ROOT, "tests", "Golden", f"model-{name}.safetensors"))
    model = models.build(
        tensors, "weights.", [(layer["query_heads"], layer["kv_heads"]) for layer in entry["layers"]], entry["config"]["head_dim"], entry["max_context_length"],
        entry["rms_norm_eps"])
    expected = tensors["logits"] - np.log(np.exp(tensors["logits"]).sum(axis=-1, keepdims=True))  # [batch, seq, vocab]
    return max(np.abs(model.log_probabilities(ids, len(ids)) - rows).max() for ids, rows in zip(tensors["input_ids"], expected))


def stories(file):
    folder = os.path.join(ROOT, "samples", "stories260k")
    with open(os.path.join(folder, "golden.json")) as golden:
        golden = json.load(golden)
    expected = golden["next_token_logprobs"]
    ids = golden["greedy_ids"][:len(expected) + 1]
    table = models.load(os.path.join(folder, file), os.path.join(folder, "tokenizer.model")).log_probabilities(ids[:-1], len(expected))
    return np.abs(table[np.arange(len(expected)), ids[1:]] - expected).max()


differences = {name: reference(name) for name in ("openelm-micro", "layerwise")} | {f"stories260k/{file}": stories(file) for file in ("", "stories260K.bin")}
for name, difference in differences.items():
    print(f"{name}: {difference:.1e} nats, {ALLOWED:.0e} allowed")
sys.exit(int(max(differences.values()) > ALLOWED))
