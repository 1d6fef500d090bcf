"""A language model written plainly in numpy: one sequence at a time, no cache, everything in double precision.

Reads a folder in Hugging Face's layout for OpenELM (config.json, model.safetensors, tokenizer.model) or a llama2.c checkpoint (.bin). The two differ in
how RoPE pairs the elements of a head: OpenELM takes k and k + headDim/2, llama2.c takes neighbours.

Shapes: S positions, D modelDim, H query heads, K key/value heads, h headDim, F ffnDim, V vocabulary; weights are [out, in].
"""
import ctypes
import json
import os
import struct
from dataclasses import dataclass
from typing import List, Optional

import numpy as np
import sentencepiece

# glibc gives large arrays back to the system and fetches them again, page by page, for every temporary; keeping them is five times as fast.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
ctypes.CDLL(None).mallopt(M_TRIM_THRESHOLD, 1 << 30)
ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 25)


@dataclass
class Layer:
    query_heads: int
    kv_heads: int
    attn_norm: np.ndarray         # [D]
    qkv: np.ndarray               # [(H + 2K) h, D]: all query heads, then all key heads, then all value heads
    out: np.ndarray               # [D, H h]
    q_norm: Optional[np.ndarray]  # [h], shared by the heads; None without QK-norm
    k_norm: Optional[np.ndarray]
    ffn_norm: np.ndarray          # [D]
    proj_1: np.ndarray            # [2F, D]: gate, then up
    proj_2: np.ndarray            # [D, F]


@dataclass
class Model:
    embedding: np.ndarray         # [V, D], also the output projection
    layers: List[Layer]
    norm: np.ndarray              # [D]
    head_dim: int
    max_length: int               # tokens of context
    epsilon: float
    rope_base: float
    adjacent_pairs: bool          # RoPE turns (0, 1), (2, 3), ... instead of (k, k + h/2)
    tokenizer: Optional[sentencepiece.SentencePieceProcessor] = None

    def log_probabilities(self, tokens, last):
        """Log-probabilities of what follows each of the last positions: [last, pieces]. Rows of the embedding that only round the vocabulary up do not count."""
        x = self.embedding[tokens]                                             # [S, D]
        cos, sin = self.rotations(len(tokens))
        for layer in self.layers:
            x = x + self.attention(layer, self.rms_norm(x, layer.attn_norm), cos, sin)
            x = x + feed_forward(layer, self.rms_norm(x, layer.ffn_norm))
        x = self.rms_norm(x[-last:], self.norm)
        pieces = self.tokenizer.get_piece_size() if self.tokenizer else len(self.embedding)
        logits = x @ self.embedding[:pieces].T
        shifted = logits - logits.max(axis=-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))

    def attention(self, layer, x, cos, sin):
        seq, h = len(x), self.head_dim
        heads = (x @ layer.qkv.T).reshape(seq, -1, h).transpose(1, 0, 2)       # [H + 2K, S, h]
        q, k, v = np.split(heads, [layer.query_heads, layer.query_heads + layer.kv_heads])
        if layer.q_norm is not None:
            q, k = self.rms_norm(q, layer.q_norm), self.rms_norm(k, layer.k_norm)
        q, k = self.rotate(q, cos, sin), self.rotate(k, cos, sin)
        past = np.tri(seq)                                                     # no position sees a later one
        mixed = np.empty((seq, layer.query_heads, h))
        for head in range(layer.query_heads):
            shared = head // (layer.query_heads // layer.kv_heads)             # neighbouring query heads share a key head
            scores = q[head] @ k[shared].T / np.sqrt(h)                        # [S, S]
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True)) * past
            mixed[:, head] = weights @ v[shared] / weights.sum(axis=-1, keepdims=True)
        return mixed.reshape(seq, -1) @ layer.out.T

    def rotations(self, seq):
        """cos and sin of position * base^(-2k/h), [S, h/2]; the angles are rounded to single precision, as the reference implementation's are."""
        h = self.head_dim
        frequencies = (1 / np.power(np.float32(self.rope_base), np.arange(0, h, 2, dtype=np.float32) / np.float32(h))).astype(np.float32)
        angles = (np.arange(seq, dtype=np.float32)[:, None] * frequencies).astype(np.float64)
        return np.cos(angles), np.sin(angles)

    def rotate(self, x, cos, sin):
        """x [heads, S, h]: each pair (a, b) becomes (a cos - b sin, a sin + b cos)."""
        half = self.head_dim // 2
        first, second = (np.s_[..., 0::2], np.s_[..., 1::2]) if self.adjacent_pairs else (np.s_[..., :half], np.s_[..., half:])
        turned = np.empty_like(x)
        turned[first] = x[first] * cos - x[second] * sin
        turned[second] = x[first] * sin + x[second] * cos
        return turned

    def rms_norm(self, x, weight):
        return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.epsilon) * weight


def feed_forward(layer, x):
    gate, up = np.split(x @ layer.proj_1.T, 2, axis=-1)                        # [S, F] each
    return (gate / (1 + np.exp(-gate)) * up) @ layer.proj_2.T                  # SwiGLU


def load(path, tokenizer=None):
    """A model with its tokenizer: tokenizer.model in the folder, or beside the file, if no other is named."""
    model = read_folder(path) if os.path.isdir(path) else read_llama2c(path)
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    model.tokenizer = sentencepiece.SentencePieceProcessor(model_file=tokenizer or os.path.join(folder, "tokenizer.model"))
    return model


def read_folder(folder):
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    if not (config["ffn_with_glu"] and config["share_input_output_layers"] and config["normalization_layer_name"] == "rms_norm" and config["activation_fn_name"] == "swish"):
        raise SystemExit(f"{folder}: this referee knows tied OpenELMs with RMSNorm and SwiGLU only.")
    weights = read_safetensors(os.path.join(folder, "model.safetensors"))
    return build(
        weights, "transformer.", list(zip(config["num_query_heads"], config["num_kv_heads"])), config["head_dim"], config["max_context_length"],
        config.get("rms_norm_eps", 1e-6), config["rope_freq_constant"])


def build(weights, prefix, heads, head_dim, max_length, epsilon=1e-6, rope_base=10000):
    """An OpenELM of weights by name; heads has query and key heads of each layer."""
    def layer(i):
        def of(name):
            return weights.get(f"{prefix}layers.{i}.{name}.weight")
        return Layer(
            *heads[i], of("attn_norm"), of("attn.qkv_proj"), of("attn.out_proj"), of("attn.q_norm"), of("attn.k_norm"), of("ffn_norm"), of("ffn.proj_1"), of("ffn.proj_2"))
    return Model(
        weights[prefix + "token_embeddings.weight"], [layer(i) for i in range(len(heads))], weights[prefix + "norm.weight"],
        head_dim, max_length, epsilon, rope_base, adjacent_pairs=False)


def read_safetensors(path):
    """Eight bytes with the header's length, the header in JSON, the tensors; floats of every type become double precision."""
    with open(path, "rb") as file:
        length, = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    read = {
        "F32": lambda raw: np.frombuffer(raw, "<f4"),
        "I64": lambda raw: np.frombuffer(raw, "<i8"),
        "F16": lambda raw: np.frombuffer(raw, "<f2"),
        "BF16": lambda raw: (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4"),  # the upper half of a float
    }
    header.pop("__metadata__", None)
    return {
        name: read[entry["dtype"]](data[slice(*entry["data_offsets"])]).astype(np.int64 if entry["dtype"] == "I64" else np.float64).reshape(entry["shape"])
        for name, entry in header.items()}


def read_llama2c(path):
    """Seven integers, then floats: each kind of weight for all layers before the next. The two RoPE tables at the end are not used."""
    with open(path, "rb") as file:
        dim, hidden, layers, heads, kv_heads, vocab, context = struct.unpack("<7i", file.read(28))
        floats = np.frombuffer(file.read(), "<f4").astype(np.float64)
    if vocab < 0:
        raise SystemExit(f"{path}: this referee knows llama2.c models with a tied output projection only.")
    head_dim, at = dim // heads, 0

    def take(*shape):
        nonlocal at
        at += int(np.prod(shape))
        return floats[at - int(np.prod(shape)):at].reshape(shape)
    embedding, attn_norm = take(vocab, dim), take(layers, dim)
    q, k, v = take(layers, dim, dim), take(layers, kv_heads * head_dim, dim), take(layers, kv_heads * head_dim, dim)
    out, ffn_norm = take(layers, dim, dim), take(layers, dim)
    gate, down, up = take(layers, hidden, dim), take(layers, dim, hidden), take(layers, hidden, dim)
    norm = take(dim)
    return Model(
        embedding,
        [Layer(heads, kv_heads, attn_norm[i], np.concatenate([q[i], k[i], v[i]]), out[i], None, None, ffn_norm[i], np.concatenate([gate[i], up[i]]), down[i])
         for i in range(layers)],
        norm, head_dim, context, 1e-5, 10000, adjacent_pairs=True)
