"""Runs openelm bench and llama-bench in turn and prints a table of medians and ratios; see compare-llama-cpp.sh."""
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time

PROGRAM, LLAMA_BENCH, MODEL_DIR = sys.argv[1:4]
MODELS = os.environ.get("MODELS", "270m 1.1b").split()
FORMATS = os.environ.get("FORMATS", "F32 BF16 Q8_0 Q4_0 Q4_K_M").split()
THREADS = [int(n) for n in os.environ.get("THREADS", "2 1").split()]
ALTERNATIONS = int(os.environ.get("ALTERNATIONS", "5"))
PROMPT, GENERATE = os.environ.get("PROMPT", "512"), os.environ.get("GENERATE", "64")
RETRIES = 5


def machine_seconds():
    """Busy and stolen seconds of all processors."""
    with open("/proc/stat") as stat:
        fields = [int(field) / os.sysconf("SC_CLK_TCK") for field in stat.readline().split()[1:]]
    return fields[0] + fields[1] + fields[2] + fields[5] + fields[6], fields[7]


def run(command):
    """A program's JSON, and whether others disturbed it."""
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    before, start = machine_seconds(), time.monotonic()
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{result.stderr}")
    seconds, after = time.monotonic() - start, machine_seconds()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    others = after[0] - before[0] - (used.ru_utime + used.ru_stime - own.ru_utime - own.ru_stime)
    return json.loads(result.stdout), others / seconds > 0.04 or (after[1] - before[1]) / seconds > 0.03


def ours(file, threads):
    document, disturbed = run([PROGRAM, "bench", file, "--threads", str(threads), "--prompt", PROMPT, "--generate", GENERATE,
                               "--repetitions", "1", "--kv", "BF16", "--json"])
    prompt, generation = document["tests"]
    return {"pp": prompt["median"], "tg": generation["median"], "share": generation["share_of_read_bandwidth"]}, disturbed


def theirs(file, threads):
    tests, disturbed = run([LLAMA_BENCH, "-m", file, "-t", str(threads), "-p", PROMPT, "-n", GENERATE, "-r", "1", "--load-mode", "none", "-o", "json"])
    return {"pp" if test["n_prompt"] else "tg": test["avg_ts"] for test in tests}, disturbed


def measure(file, threads):
    pairs, thrown_away = [], 0
    while len(pairs) < ALTERNATIONS:
        (mine, a), (other, b) = ours(file, threads), theirs(file, threads)
        if (a or b) and thrown_away < RETRIES:
            thrown_away += 1
            continue
        pairs.append((mine, other))
    return pairs, thrown_away


def main():
    processor = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    print(f"{processor}, {os.cpu_count()} processors, {time.strftime('%Y-%m-%d')}; {ALTERNATIONS} alternations, pp{PROMPT}, tg{GENERATE}; 16-bit KV caches\n")
    print("| model | format | threads | test | ours | llama.cpp | ratio | range | of plain reading | thrown away |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for model in MODELS:
        for form in FORMATS:
            for threads in THREADS:
                pairs, thrown_away = measure(os.path.join(MODEL_DIR, f"openelm-{model}-{form}.gguf"), threads)
                for test in ("pp", "tg"):
                    mine, other = statistics.median(p[0][test] for p in pairs), statistics.median(p[1][test] for p in pairs)
                    ratios = [p[0][test] / p[1][test] for p in pairs]
                    share = f"{statistics.median(p[0]['share'] for p in pairs):.0%}" if test == "tg" else ""
                    print(f"| {model} | {form} | {threads} | {test} | {mine:.1f} | {other:.1f} | {mine / other:.2f} | "
                          f"{min(ratios):.2f}–{max(ratios):.2f} | {share} | {thrown_away} |", flush=True)


main()
