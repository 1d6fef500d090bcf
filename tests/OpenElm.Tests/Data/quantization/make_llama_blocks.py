#!/usr/bin/env python3
"""Makes llama-blocks.safetensors: blocks that llama.cpp's quantiser wrote, and the numbers that it reads from them.

    make_llama_blocks.py LLAMA_QUANTIZE OUT.safetensors        # needs nothing but Python and llama.cpp's llama-quantize

For every format F: "F.blocks" (bytes, from llama-quantize --pure F) and "F.values" (floats, from llama-quantize
--allow-requantize … F32 of that file); "source": the floats that were quantised, 16 rows of 256. The rows: normal numbers of
several sizes, heavy tails, zeros, constants, one-sided numbers, one large outlier, numbers that need subnormal scales.
"""
import array
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

FORMATS = {"Q4_0": "Q4_0", "Q4_1": "Q4_1", "Q5_0": "Q5_0", "Q5_1": "Q5_1", "Q8_0": "Q8_0", "Q4_K": "Q4_K_S", "Q5_K": "Q5_K_S", "Q6_K": "Q6_K"}
WIDTH, NAME = 256, b"token_embd.weight"


def rows():
    r = random.Random(7)
    normal = lambda deviation: [r.gauss(0, deviation) for _ in range(WIDTH)]
    heavy = lambda: [r.gauss(0, 0.02) / max(0.05, r.random()) for _ in range(WIDTH)]
    yield from (normal(s) for s in (1, 0.02, 1e-3, 30, 1e-5, 1e-7))
    yield from (heavy(), heavy(), heavy())
    yield [0.0] * WIDTH
    yield [0.375] * WIDTH
    yield [-0.1] * WIDTH
    yield [abs(v) for v in normal(0.5)]
    yield [-1 - abs(v) for v in normal(0.1)]
    yield [5.0 if i == 100 else v for i, v in enumerate(normal(0.01))]
    yield [v * (1 + i // 32) ** 3 for i, v in enumerate(normal(0.003))]


def text(s):
    return struct.pack("<Q", len(s)) + s


def write_gguf(path, values):
    n = len(values) // WIDTH
    integers = {b"block_count": 1, b"context_length": 16, b"embedding_length": WIDTH, b"feed_forward_length": 64,
                b"attention.head_count": 1, b"attention.head_count_kv": 1, b"attention.key_length": 64, b"attention.value_length": 64,
                b"rope.dimension_count": 64, b"vocab_size": n}
    entries = text(b"general.architecture") + struct.pack("<I", 8) + text(b"openelm")
    entries += text(b"openelm.attention.layer_norm_rms_epsilon") + struct.pack("<If", 6, 1e-6)
    for key, value in integers.items():
        entries += text(b"openelm." + key) + struct.pack("<II", 4, value)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 2 + len(integers)) + entries + text(NAME) + struct.pack("<IQQIQ", 2, WIDTH, n, 0, 0)
    with open(path, "wb") as f:
        f.write(head + bytes(-len(head) % 32) + values.tobytes())


def tensor_bytes(path, size):
    data = open(path, "rb").read()
    return data[-(size + -size % 32):][:size]


def main():
    quantize, out = sys.argv[1:]
    values = array.array("f", [v for row in rows() for v in row])
    tensors = {"source": ("F32", values.tobytes())}
    with tempfile.TemporaryDirectory() as folder:
        path = lambda name: os.path.join(folder, name + ".gguf")
        write_gguf(path("source"), values)
        for name, kind in FORMATS.items():
            for command in ([quantize, "--pure", path("source"), path(name), kind], [quantize, "--allow-requantize", path(name), path("back"), "F32"]):
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            block = {"Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210)}[name]
            tensors[name + ".blocks"] = ("U8", tensor_bytes(path(name), len(values) // block[0] * block[1]))
            tensors[name + ".values"] = ("F32", tensor_bytes(path("back"), 4 * len(values)))
    header, at = {}, 0
    for name, (kind, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": [len(data) // (4 if kind == "F32" else 1)], "data_offsets": [at, at + len(data)]}
        at += len(data)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-(len(head) + 8) % 64)
    with open(out, "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head + b"".join(data for _, data in tensors.values()))


main()
