"""Times openelm-run; see measure-startup.sh beside this file."""
import json
import os
import statistics
import subprocess
import sys
import time


def show(what, values, unit, digits):
    print(f"{what:<52} {statistics.median(values):10.{digits}f} {unit:<9} [{min(values):.{digits}f}, {max(values):.{digits}f}]", flush=True)


def milliseconds(command, until_first_byte=False):
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        first = process.stdout.read(1)
        elapsed = time.perf_counter() - start
        process.stdout.read()
    if process.returncode != 0 or not first:
        sys.exit(f"{' '.join(command)} failed with exit code {process.returncode}")
    return 1e3 * (elapsed if until_first_byte else time.perf_counter() - start)


def bench(program, model):
    return json.loads(subprocess.run([program, "bench", model, "--repetitions", "3", "--json"], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)


def main(native, jitted, model, rounds):
    files = [model] if os.path.isfile(model) else [entry.path for entry in os.scandir(model) if entry.is_file()]
    for path in files:
        with open(path, "rb") as file:
            while file.read(1 << 24):
                pass
    print(f"size of the file: {os.path.getsize(native) / 1e6:.2f} MB")
    print(f"model: {os.path.basename(model)}, {sum(map(os.path.getsize, files)) / 1e6:.0f} MB")
    for program, name in (native, "ahead of time"), (jitted, "as it runs"):
        show(f"--version, compiled {name}", [milliseconds([program, "--version"]) for _ in range(20)], "ms", 1)
    # Greedy, so that the program computes one token and its text comes at once.
    prompt = ["generate", model, "--prompt", "The quick brown fox", "--no-echo", "--max-tokens", "1"]
    for program, name in (native, "ahead of time"), (jitted, "as it runs"):
        milliseconds([program, *prompt])
        show(f"start to first token, compiled {name}", [milliseconds([program, *prompt], until_first_byte=True) for _ in range(rounds)], "ms", 0)

    runs = {native: [], jitted: []}
    for _ in range((rounds + 1) // 2):
        for program, results in runs.items():
            results.append(bench(program, model))
    for key, label in ("load_seconds", "loading"), ("first_token_seconds", "first token after loading"):
        for program, name in (native, "ahead of time"), (jitted, "as it runs"):
            show(f"{label}, compiled {name}", [1e3 * run[key] for run in runs[program]], "ms", 1)
    for i, test in enumerate(runs[native][0]["tests"]):
        rates = {program: [run["tests"][i]["median"] for run in results] for program, results in runs.items()}
        for program, name in (native, "ahead of time"), (jitted, "as it runs"):
            show(f"{test['test']}, compiled {name}", rates[program], "tokens/s", 2)
        print(f"{test['test']}, ratio of medians: {statistics.median(rates[native]) / statistics.median(rates[jitted]):.3f}")
    print(f"kernels: {runs[native][0]['kernels']} and {runs[jitted][0]['kernels']}, {runs[native][0]['threads']} threads")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
