"""What programs left in the folder $OUT, for the terminal: `results.py show NAME`, and `results.py ratios TRAINED GENERATING` (sizes, separated by spaces).

Ours print one JSON document, the peers a line for each configuration, both perhaps among other text.
"""
import json
import os
import sys


def documents(name):
    try:
        with open(f"{os.environ['OUT']}/{name}.json") as file:
            text = file.read()
    except OSError:
        return
    at = 0
    while (start := min((i for i in (text.find("{", at), text.find("[", at)) if i >= 0), default=-1)) >= 0:
        try:
            document, at = json.JSONDecoder().raw_decode(text, start)
            yield from document if isinstance(document, list) else [document]
        except json.JSONDecodeError:
            at = start + 1


def number(value):
    return f"{value:,.3g}" if value < 1 else f"{value:,.0f}"


def lines(d):
    if "tokens_per_second" in d:
        joined = d.get("swi_glu_in_products") or {}
        yield (f"{d['tokens_per_second']:,.0f} tokens/s, {d['step_milliseconds']:.2f} ms, {d['utilisation']:.1%} of peak, {d['device_gigabytes']:.2f} GB (planned {d['planned_gigabytes']:.2f}), "
               f"host {d['host_milliseconds']:.1f} ms, idle {d['idle_share']:.2%}, SwiGLU in {joined.get('forward', 0)} + {joined.get('backward', 0)} products")
    elif d.get("bench") == "train":
        yield f"{d['tok_s']:,} tokens/s, {d['step_ms']:.2f} ms, {d['mfu']:.1%} of peak, {d['peak_gb']:.2f} GB"
    elif "rows" in d:
        for row in d["rows"]:
            yield "; ".join(f"{name.replace('_', ' ')} {number(value)}" if isinstance(value, float) else str(value) for name, value in row.items() if isinstance(value, (float, str)))
    else:
        yield json.dumps({name: value for name, value in d.items() if not isinstance(value, (list, dict))})


def show(name):
    print("\n".join(line for d in documents(name) for line in lines(d)) or "no result")


def value(name, key):
    for d in documents(name):
        for place in [d, *(d.get("rows") or [])]:
            if key in place:
                return place[key]
    return None


def mean(names, key):
    found = [v for v in (value(name, key) for name in names) if v]
    return sum(found) / len(found) if found else None


def ratios(trained, generating):
    print("ours / peer")

    def line(name, what, ours, peer, more=""):
        if ours and peer:
            print(f"  {name}: {what} {ours:,.0f} / {peer:,.0f} = {ours / peer:.2f}x{more}")

    for size in trained.split():
        for way, against in (("", ""), ("-fp8", ""), ("-checkpointed", "-checkpointed"), ("-autocast", "-autocast")):
            name, peer = f"train-{size}{way}", f"train-{size}-peer{against}"
            names = [name] if way else [name, f"{name}-again"]
            ours, theirs = mean(names, "device_gigabytes"), value(peer, "peak_gb")
            line(name, "tokens/s", mean(names, "tokens_per_second"), value(peer, "tok_s"), f", memory {ours / theirs:.2f}x" if ours and theirs else "")
    for size in generating.split():
        for way, against in (("", ""), ("-q8_0", ""), ("-q4_0", ""), ("-batch-8", "-batch-8"), ("-batch-64", "-batch-64")):
            name, peer = f"generate-{size}{way}", f"generate-{size}{against}-peer"
            names = [name] if way else [name, f"{name}-again"]
            line(name, "generation", mean(names, "generation_tokens_per_second"), value(peer, "decode_tok_s"))
            line(name, "prompt", mean(names, "prompt_tokens_per_second"), value(peer, "prefill_tok_s"))


if __name__ == "__main__":
    {"show": show, "ratios": ratios}[sys.argv[1]](*sys.argv[2:])
