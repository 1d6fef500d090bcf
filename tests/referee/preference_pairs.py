#!/usr/bin/env python3
"""Preference pairs as token ids by the rules of openelm.md 7.3, written plainly and independent of the C#.

    apt-get install python3-sentencepiece
    tests/referee/preference_pairs.py TOKENIZER.model FILE...

For each file: records, bad, equal, cut prompts, cut responses, and the SHA-256 of the lines [[prompt], [chosen], [rejected]], which the tests in
OpenElm.Data.Tests/Preferences expect. The rules are those of trl 0.8.2 (DPOTrainer.tokenize_row) with the template Zephyr.
"""

import gzip
import hashlib
import json
import re
import sys

import sentencepiece

MAX_LENGTH, MAX_PROMPT_LENGTH = 1024, 512
BOS, EOS = 1, 2
SPECIAL = {"<unk>": 0, "<s>": BOS, "</s>": EOS}


def read(path):
    text = gzip.open(path, "rt", encoding="utf-8", newline="\n").read()
    return json.loads(text) if text.lstrip()[0] == "[" else [json.loads(line) for line in text.split("\n") if line.strip()]


def conversation(record):
    """Prompt messages, chosen and rejected response; None for a bad record."""
    if "instruction" in record:
        user = record["instruction"] + ("\n\n" + record["input"] if record["input"] else "")
        pair = [("user", user)], record["chosen"], record["rejected"]
    elif "prompt" in record:
        pair = [("user", record["prompt"])], record["chosen"], record["rejected"]
    else:
        chosen, rejected = (dialogue(record[side]) for side in ("chosen", "rejected"))
        if len({record[side].rpartition("\n\nAssistant:")[0] for side in ("chosen", "rejected")}) > 1:
            return None
        pair = chosen[:-1], chosen[-1][1], rejected[-1][1]
    return pair if all(text.strip() for text in (pair[0][0][1], pair[1], pair[2])) else None


def dialogue(text):
    parts = re.split(r"\n\n(Human|Assistant):", text)
    return [({"Human": "user", "Assistant": "assistant"}[role], content.strip()) for role, content in zip(parts[1::2], parts[2::2])]


def zephyr(messages):
    return "".join(f"<|{role}|>\n{content}</s>\n" for role, content in messages)


def encode(model, text):
    """Special pieces in the text are tokens, and what stands between them begins with a blank of its own."""
    ids = []
    for part in re.split("(<unk>|<s>|</s>)", text):
        ids += [SPECIAL[part]] if part in SPECIAL else model.encode(part) if part else []
    return ids


def tokenize(model, prompt, chosen, rejected):
    prompt_ids = encode(model, prompt)
    responses = []
    for response in (chosen, rejected):
        joint = encode(model, prompt + response)
        assert joint[: len(prompt_ids)] == prompt_ids  # Zephyr ends prompts with a line break, which nothing melts into
        responses.append(joint[len(prompt_ids) :] + [EOS])
    return [[BOS] + prompt_ids, *responses]


def cut(pair):
    prompt, chosen, rejected = pair
    longer = max(len(chosen), len(rejected))
    if len(prompt) + longer > MAX_LENGTH:
        prompt = prompt[-MAX_PROMPT_LENGTH:]
    if len(prompt) + longer > MAX_LENGTH:
        chosen, rejected = chosen[: MAX_LENGTH - MAX_PROMPT_LENGTH], rejected[: MAX_LENGTH - MAX_PROMPT_LENGTH]
    return [prompt, chosen, rejected]


def main():
    model = sentencepiece.SentencePieceProcessor(model_file=sys.argv[1])
    for path in sys.argv[2:]:
        records, digest = read(path), hashlib.sha256()
        bad = equal = cut_prompts = cut_responses = 0
        for record in records:
            parts = conversation(record)
            if parts is None:
                bad += 1
                continue
            messages, chosen, rejected = parts
            system = [] if messages[0][0] == "system" else [("system", "")]
            whole = tokenize(model, zephyr(system + messages), zephyr([("assistant", chosen)]), zephyr([("assistant", rejected)]))
            pair = cut(whole)
            if pair[1] == pair[2]:
                equal += 1
                continue
            cut_prompts += len(pair[0]) < len(whole[0])
            cut_responses += len(pair[1]) < len(whole[1]) or len(pair[2]) < len(whole[2])
            digest.update((json.dumps(pair) + "\n").encode())
        print(path, len(records), bad, equal, cut_prompts, cut_responses, digest.hexdigest())


if __name__ == "__main__":
    main()
