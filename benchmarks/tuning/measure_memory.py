"""Memory of tuning: what `openelm finetune --plan` and `openelm align --plan` say beside the peak of a process that makes two updates.

    python3 benchmarks/tuning/measure_memory.py FOLDER [PATTERN]

FOLDER receives a model of the 270M shape with random weights (1.1 GB) and the runs; PATTERN is a regular expression that chooses settings.
The peak is what the system counts as the process's largest resident set (VmHWM).
"""
import json
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OPENELM = os.path.join(ROOT, "src/OpenElm.Cli/bin/Release/net10.0/openelm")
RULES = [".*token_embedding.*", ".*out_proj.*", ".*qkv_proj.*", r".*proj_\d.*"]


def settings():
    """Method, precision, sequences, tokens, checkpointing, base weights."""
    for method in ("align full", "align lora"):
        yield method, "fp32", 2, 256, False, None
    for precision in ("fp32", "autocast", "bf16"):
        yield "full", precision, 1, 256, False, None
        yield "full", precision, 4, 512, False, None
        yield "full", precision, 4, 512, True, None
        for method, base in (("lora", None), ("dora", None), ("lora", "Q4_K"), ("dora", "Q4_K")):
            yield method, precision, 1, 256, False, base
            yield method, precision, 4, 512, False, base
            yield method, precision, 4, 512, True, base


def config(folder, method, precision, sequences, tokens, checkpointing, base):
    rules = [{"modules": rule, "dora": method == "dora" and "embedding" not in rule} for rule in RULES]
    instructions = {"files": [os.path.join(ROOT, "samples/instruct/train.jsonl.gz")], "batching": "packing", "sequence_length": tokens, "on_too_long": "skip"}
    # Not shuffled, grouping puts the longest pairs first.
    pairs = {"files": [os.path.join(ROOT, "samples/preference/train.jsonl.gz")], "batching": "grouping", "shuffle": False, "max_records": 40, "max_length": tokens, "max_prompt_length": tokens // 2}
    return {
        "output": os.path.join(folder, "run"),
        "model": os.path.join(folder, "model"),
        **({} if method.endswith("full") else {"adapter": {"rules": rules}, "base_weights": base}),
        "data": pairs if method.startswith("align") else instructions,
        "schedule": {"max_learning_rate": 1e-5, "min_learning_rate": 1e-5, "warmup_iterations": 0},
        "trainer": {"steps": 2, "micro_batch": sequences, "precision": precision, "activation_checkpointing": checkpointing},
        "checkpoints": {"average_last": 0},
    }


def peak(command):
    """Runs a command; the largest resident set of its process in bytes."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(command)} failed:\n{errors}")
    return usage.ru_maxrss * 1024


def main(folder, pattern=".*"):
    model = os.path.join(folder, "model")
    if not os.path.isdir(model):
        os.makedirs(folder, exist_ok=True)
        tokenizer = os.path.join(ROOT, "samples/tokenizer/mistral/tokenizer.model")
        subprocess.run([OPENELM, "convert", "--random", "openelm-270m", model, "--tokenizer", tokenizer, "--no-verify"], check=True, stdout=subprocess.DEVNULL)
    print("| method | base weights | precision | batch | checkpointing | plan, MB | peak, MB | plan ÷ peak |\n|---|---|---|---|---|---|---|---|", flush=True)
    for method, precision, sequences, tokens, checkpointing, base in settings():
        name = f"{method} {base or 'tensors'} {precision} {sequences}x{tokens} {'checkpointing' if checkpointing else 'kept'}"
        if not re.search(pattern, name):
            continue
        file = os.path.join(folder, "config.yaml")
        with open(file, "w", encoding="utf-8") as stream:
            json.dump(config(folder, method, precision, sequences, tokens, checkpointing, base), stream)  # JSON is YAML
        verb = "align" if method.startswith("align") else "finetune"
        plan = json.loads(subprocess.run([OPENELM, verb, file, "--plan", "--json"], check=True, stdout=subprocess.PIPE).stdout)["plan"]
        shutil.rmtree(os.path.join(folder, "run"), ignore_errors=True)
        measured = peak([OPENELM, verb, file])
        planned = plan["total_bytes"]
        print(f"| {method} | {base or '-'} | {precision} | {sequences} x {tokens} | {'yes' if checkpointing else 'no'} | {planned / 1e6:,.0f} | {measured / 1e6:,.0f} | {planned / measured:.2f} |", flush=True)
        if "--parts" in sys.argv:
            print("    " + ", ".join(f"{key[:-6]} {value / 1e6:.0f}" for key, value in plan.items() if key.endswith("_bytes")), flush=True)
    shutil.rmtree(os.path.join(folder, "run"), ignore_errors=True)


if __name__ == "__main__":
    main(*[argument for argument in sys.argv[1:] if argument != "--parts"])
