#!/usr/bin/env python3
"""The referee: evaluates a model by itself and compares every number with those of `openelm evaluate`. See README.md.

    tests/referee/evaluate.py MODEL --data DATA/eval [--weights FILE.bin] [--tasks NAMES] [--max-length N] [--runtime NAME]
                              [--results DIR] [--openelm COMMAND]

Prints a line for each task; the exit code is 1 if anything disagrees.
"""
import argparse
import json
import math
import multiprocessing
import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the processes share the cores

import model as models
import scoring
import tasks

TOLERANCE = 1e-5  # relative; single precision against double
SHOWN = 40        # disagreements and ties that are told

# Shots, documents of each task, tasks: no examples, and the paper's numbers of examples. MMLU takes all 57 subjects, four documents of each.
RUNS = [
    (0, 200, ["arc_easy", "arc_challenge", "boolq", "hellaswag", "openbookqa", "piqa", "sciq", "social_iqa", "winogrande", "truthfulqa_mc1", "truthfulqa_mc2",
              "crows_pairs_english", "lambada_openai", "wikitext"]),
    (0, 4, ["mmlu"]),
    (5, 200, ["winogrande"]),
    (5, 4, ["mmlu"]),
    (10, 200, ["hellaswag"]),
    (25, 200, ["arc_challenge", "crows_pairs_english"]),
]

# Splits that the bundled data lack, and what both sides read instead: what is compared is scoring, not the data.
STAND_INS = {"sciq/test": "sciq/validation", "hellaswag/train": "hellaswag/validation", "winogrande/train": "winogrande/validation"}

HEADING = """\
| task | shots | documents | requests | largest relative difference | openelm | referee | documents that agree |
|---|---|---|---|---|---|---|---|"""


@dataclass
class Row:
    """A line of the table."""
    task: str
    shots: int
    documents: int = 0
    requests: int = 0
    difference: float = 0                         # the largest of all log-likelihoods, relative
    agreeing: int = 0                             # documents with equal metrics
    theirs: list = field(default_factory=list)    # metric, value
    own: list = field(default_factory=list)
    ties: list = field(default_factory=list)      # choices between numbers that are equal within the tolerance, made otherwise
    problems: list = field(default_factory=list)

    def __str__(self):
        def text(values):
            return ", ".join(f"{metric} {value:.6g}" for metric, value in values)
        agree = f"{self.agreeing} of {self.documents}" + (f", {len(self.ties)} ties" if self.ties else "") + (", **disagrees**" if self.problems else "")
        return f"| {self.task} | {self.shots} | {self.documents} | {self.requests} | {self.difference:.1e} | {text(self.theirs)} | {text(self.own)} | {agree} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of the model that openelm evaluates")
    parser.add_argument("--data", required=True, help="folder of evaluation data in the bundled form")
    parser.add_argument("--weights", help="what the referee reads instead of the folder, a llama2.c file for example")
    parser.add_argument("--tasks", help="only these, with commas")
    parser.add_argument("--limit", type=int, help="fewer documents of each task")
    parser.add_argument("--max-length", type=int, help="the longest sequence instead of the model's context length")
    parser.add_argument("--runtime", default="inference", help="openelm's runtime")
    parser.add_argument("--results", help="folder of openelm's results; those that are there are not computed again")
    parser.add_argument("--openelm", default="dotnet run -c Release --project src/OpenElm.Cli --", help="how openelm is called")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    wanted = set(options.tasks.split(",")) if options.tasks else None
    runs = [(shots, min(limit, options.limit or limit), [name for name in names if wanted is None or name in wanted]) for shots, limit, names in RUNS]
    model = models.load(options.weights or options.model, os.path.join(options.model, "tokenizer.model"))
    model.max_length = options.max_length or model.max_length
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        data = with_stand_ins(os.path.abspath(options.data), os.path.join(scratch, "data"))
        print(HEADING)
        for shots, limit, names in runs:
            if names:
                results = evaluate(options, model, data, shots, limit, names, options.results or os.path.join(scratch, "results"))
                for name in names:
                    rows.append(referee(model, data, name, shots, limit, results, options.processes))
                    print(rows[-1], flush=True)
    ties, problems = ([f"{row.shots} shots: {text}" for row in rows for text in getattr(row, kind)] for kind in ("ties", "problems"))
    print(f"\n{sum(row.requests for row in rows)} requests of {sum(row.documents for row in rows)} documents; largest relative difference "
          f"{max(row.difference for row in rows):.1e} of {TOLERANCE:.0e} allowed; {len(ties)} ties, {len(problems)} disagreements.")
    for title, texts in (("Ties", ties), ("Disagreements", problems)):
        if texts:
            print(f"\n{title}:\n" + "\n".join("- " + text for text in texts[:SHOWN]) + (f"\n- and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""))
    return 1 if problems else 0


def with_stand_ins(data, copy):
    """A folder of links to the data, with the stand-ins in their places."""
    for task in filter(lambda name: os.path.isdir(os.path.join(data, name)), os.listdir(data)):
        os.makedirs(os.path.join(copy, task))
        for file in os.listdir(os.path.join(data, task)):
            os.symlink(os.path.join(data, task, file), os.path.join(copy, task, file))
    for missing, present in STAND_INS.items():
        if not os.path.exists(os.path.join(copy, missing + ".jsonl.gz")):
            os.symlink(os.path.join(data, present + ".jsonl.gz"), os.path.join(copy, missing + ".jsonl.gz"))
    return copy


def evaluate(options, model, data, shots, limit, names, results):
    """Runs openelm on tasks, if that was not done before, and tells the folder of its results."""
    folder = os.path.join(results, f"{options.runtime}-{shots}-shot-{limit}")
    if not os.path.exists(os.path.join(folder, "results.json")):
        command = shlex.split(options.openelm) + [
            "evaluate", options.model, "--tasks", ",".join(names), "--num-fewshot", str(shots), "--limit", str(limit), "--data", data,
            "--runtime", options.runtime, "--max-length", str(model.max_length), "--no-cache", "--output", folder]
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if run.returncode:
            sys.exit(f"{shlex.join(command)} failed with {run.returncode}:\n{run.stdout}")
    with open(os.path.join(folder, "results.json")) as file:
        runtime = json.load(file)["runtime"]
    if runtime.split()[0] != options.runtime:
        sys.exit(f"{folder} was computed by the runtime {runtime}, not {options.runtime}.")
    return folder


def referee(model, data, name, shots, limit, results, processes):
    """Scores a task, or all tasks of a group, and compares: a line of the table."""
    parts = ["mmlu_" + subject for subject in tasks.mmlu_subjects(data)] if name == "mmlu" else [name]
    row, questions, theirs, own = Row(name, shots), [], [], []
    for part in parts:
        task = tasks.read_task(data, part)
        asked = list(task.questions(shots, limit))
        scores = score_all(model, task, asked, processes)
        samples = read_samples(os.path.join(results, "samples", f"{part}.{shots}-shot.jsonl"))
        if [sample["doc_id"] for sample in samples] != list(range(len(asked))):
            row.problems.append(f"{part}: openelm's documents are not the first {len(asked)}")
            return row
        for question, score, sample in zip(asked, scores, samples):
            verdicts = {metric: scoring.verdict(metric, question, score) for metric in task.metrics}
            compare(row, f"{part} document {sample['doc_id']}", question, score, verdicts, sample)
            own.append({metric: verdict.value for metric, verdict in verdicts.items()})
            theirs.append(sample["metrics"])
        questions += asked
    row.theirs = read_overall(os.path.join(results, "results.json"), name)
    row.own = [(metric, scoring.overall(metric, [document[metric] for document in own], questions)) for metric in task.metrics]
    for metric, value in row.theirs:
        expected = scoring.overall(metric, [document[metric] for document in theirs], questions)
        if not math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-12):
            row.problems.append(f"{metric} is {value}, but {expected} by openelm's own documents")
    return row


def compare(row, name, question, scores, verdicts, sample):
    """Adds a document to the line: its log-likelihoods, is_greedy and metrics."""
    row.documents += 1
    row.requests += len(scores)
    problems, ties = [], []
    if len(sample["logprobs"]) != len(scores):
        row.problems.append(f"{name}: openelm has {len(sample['logprobs'])} requests, the referee {len(scores)}")
        return
    for i, (score, logprob, is_greedy) in enumerate(zip(scores, sample["logprobs"], sample["is_greedy"])):
        difference = abs(logprob - score.log_likelihood) / abs(score.log_likelihood)
        row.difference = max(row.difference, difference)
        if not difference <= TOLERANCE:
            problems.append(f"{name} request {i}: {logprob:.9g} instead of {score.log_likelihood:.9g}, for {question.continuations[i][:60]!r} behind {question.contexts[i][-60:]!r}")
        if is_greedy != score.is_greedy:
            (ties if score.margin <= TOLERANCE else problems).append(f"{name} request {i}: is_greedy is {is_greedy}, and another token {score.margin:.1e} nats away")
    slack = TOLERANCE * sum(abs(score.log_likelihood) for score in scores)  # no smooth metric changes faster than its log-likelihoods
    for metric, verdict in verdicts.items():
        value = sample["metrics"][metric]
        if verdict.margin is None:
            if not abs(value - verdict.value) <= slack:
                problems.append(f"{name}: {metric} is {value:.9g} instead of {verdict.value:.9g}")
        elif value != verdict.value:
            (ties if verdict.margin <= TOLERANCE else problems).append(f"{name}: {metric} is {value} instead of {verdict.value}, by numbers {verdict.margin:.1e} apart")
    row.agreeing += not problems and not ties
    row.problems += problems
    row.ties += ties


def score_all(model, task, questions, processes):
    """One request at a time: [documents][requests]."""
    with multiprocessing.get_context("fork").Pool(processes, initializer=keep, initargs=(model, task)) as pool:
        return pool.map(score_question, questions, chunksize=1)


def keep(model, task):
    score_question.model, score_question.task = model, task


def score_question(question):
    return [scoring.score(score_question.model, score_question.task, *request) for request in zip(question.contexts, question.continuations)]


def read_samples(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def read_overall(path, name):
    """The metrics of a task or a group."""
    with open(path) as file:
        document = json.load(file)
    entry, = [entry for entry in document["tasks"] + document["groups"] if entry["name"] == name]
    return [(metric["name"], float(metric["value"])) for metric in entry["metrics"]]


if __name__ == "__main__":
    sys.exit(main())
