"""Requests to tokens, tokens to log-likelihoods, log-likelihoods to metrics: the rules of lm-evaluation-harness 0.4.2 with add_bos_token."""
import math
from dataclasses import dataclass
from typing import Optional

import numpy as np


@dataclass
class Score:
    log_likelihood: float
    is_greedy: bool
    margin: float  # nats between a token and the best other one, where that is least: how near is_greedy is to its opposite


@dataclass
class Verdict:
    """A document's part of a metric. Where it is a choice between two numbers, how far apart these are, as a share of them; a smooth metric has None."""
    value: float
    margin: Optional[float] = None


# ---- tokens ----

def encode(model, text):
    return [model.tokenizer.bos_id()] + model.tokenizer.encode(text)


def split(model, context, continuation):
    """Both as one text; what is longer than the context alone is the continuation. Blanks at the context's end belong to the continuation."""
    if not context:
        return [model.tokenizer.eos_id()], encode(model, continuation)
    whole, front = encode(model, context + continuation), encode(model, context.rstrip())
    return whole[:len(front)], whole[len(front):]


def windows(model, text):
    """A whole text: each window predicts as many tokens as the model takes, the last one reaches back. EOS stands before the first token, BOS."""
    tokens, size = encode(model, text), model.max_length
    pieces = [([model.tokenizer.eos_id()], tokens[:size])]
    for start in range(size, len(tokens), size):
        end = min(start + size, len(tokens))
        pieces.append((tokens[end - size - 1:start], tokens[start:end]))
    return pieces


# ---- log-likelihoods ----

def score_tokens(model, context, continuation):
    """The last max_length + 1 tokens are kept; all but the very last are fed."""
    assert 0 < len(continuation) <= model.max_length, f"a continuation of {len(continuation)} tokens"
    fed = (context + continuation)[-(model.max_length + 1):][:-1]
    table = model.log_probabilities(fed, len(continuation))  # [continuation, pieces]
    at = np.arange(len(continuation)), continuation
    own = table[at]
    is_greedy = bool((table.argmax(axis=-1) == continuation).all())
    table[at] = -np.inf
    return Score(float(own.sum()), is_greedy, float(np.abs(own - table.max(axis=-1)).min()))


def score(model, task, context, continuation):
    if not task.whole_text:
        return score_tokens(model, *split(model, context, continuation))
    parts = [score_tokens(model, *window) for window in windows(model, continuation)]
    return Score(sum(part.log_likelihood for part in parts), all(part.is_greedy for part in parts), min(part.margin for part in parts))


# ---- metrics ----

def verdict(metric, question, scores):
    values = [score.log_likelihood for score in scores]
    if metric == "acc" and not question.choices:
        return Verdict(float(scores[0].is_greedy), scores[0].margin)  # LAMBADA: the model would write this word
    if metric in ("acc", "mc1"):
        return chosen(values, question.gold)
    if metric == "acc_norm":
        return chosen([value / len(choice) for value, choice in zip(values, question.choices)], question.gold)
    if metric == "mc2":
        shares = np.exp(values)
        return Verdict(float(shares[:question.true_answers].sum() / shares.sum()))
    if metric == "pct_stereotype":
        return Verdict(float(values[0] > values[1]), apart(*values))
    if metric == "likelihood_diff":
        return Verdict(abs(values[0] - values[1]))
    return Verdict(values[0])  # perplexities


def chosen(values, gold):
    """Whether the first of the largest values is the right one."""
    best = int(np.argmax(values))
    return Verdict(float(best == gold), min(apart(values[best], value) for i, value in enumerate(values) if i != best))


def apart(a, b):
    return abs(a - b) / max(abs(a), abs(b))


def overall(metric, values, questions):
    """The metric over all documents, from each one's part."""
    if metric == "perplexity":
        return math.exp(-sum(values) / len(values))
    if metric == "word_perplexity":
        return math.exp(-sum(values) / sum(question.words for question in questions))
    if metric == "byte_perplexity":
        return math.exp(-sum(values) / sum(question.bytes for question in questions))
    if metric == "bits_per_byte":
        return -sum(values) / sum(question.bytes for question in questions) / math.log(2)
    return sum(values) / len(values)
