"""The tasks as lm-evaluation-harness 0.4.2 (commit dc90fec) asks them, built from the raw data files."""
import csv
import gzip
import io
import json
import os
import random
import re
import zipfile
from dataclasses import dataclass, field
from typing import Callable, List


@dataclass
class Question:
    """What is asked about a row: the model scores each continuation behind its context."""
    contexts: List[str]
    continuations: List[str]
    choices: List[str] = field(default_factory=list)  # without the blank before them: their lengths count in acc_norm
    gold: int = 0
    true_answers: int = 0                             # TruthfulQA: so many choices at the beginning are true
    words: int = 0                                    # of a whole text
    bytes: int = 0


@dataclass
class Task:
    rows: List[dict]
    question: Callable[[dict], Question]
    metrics: List[str]
    examples: List[dict] = field(default_factory=list)
    description: str = ""
    one_more: bool = False        # draws one example more than asked for
    takes_first: bool = False     # the first examples instead of random ones
    whole_text: bool = False

    def questions(self, shots, limit):
        """The first documents with their solved examples; one generator serves all documents in turn."""
        generator = random.Random(1234)
        for row in self.rows[:limit]:
            before = self.description + (self.solved_examples(row, shots, generator) if shots else "")
            question = self.question(row)
            question.contexts = [before + context for context in question.contexts]
            yield question

    def solved_examples(self, row, shots, generator):
        drawn = self.examples[:shots] if self.takes_first else generator.sample(self.examples, shots + self.one_more)
        kept = [example for example in drawn if example != row][:shots]
        return "\n\n".join(solved(self.question(example)) for example in kept) + "\n\n"


def solved(question):
    return question.contexts[question.gold] + question.continuations[question.gold]


def choose(context, choices, gold, delimiter=" ", true_answers=0):
    return Question([context] * len(choices), [delimiter + choice for choice in choices], choices, gold, true_answers)


# ---- the questions ----

def arc(row):
    return choose(f"Question: {row['question']}\nAnswer:", row["choices"], row["label"])


def boolq(row):
    return choose(f"{row['passage']}\nQuestion: {row['question']}?\nAnswer:", ["no", "yes"], int(row["answer"]))


def crows_pairs(row):
    return choose("", [row["sent_more"], row["sent_less"]], 0, delimiter="")


def hellaswag(row):
    return choose(row["query"], row["endings"], int(row["label"]))


def lambada(row):
    return Question([row["context"]], [" " + row["continuation"]])


def mmlu(row):
    question, *choices, answer = row["fields"]
    lettered = "".join(f"{letter}. {choice}\n" for letter, choice in zip("ABCD", choices))
    return choose(f"{question.strip()}\n{lettered}Answer:", list("ABCD"), "ABCD".index(answer))


def openbookqa(row):
    return choose(row["question_stem"], row["choices"], row["label"])


def piqa(row):
    return choose(f"Question: {row['goal']}\nAnswer:", [row["sol1"], row["sol2"]], row["label"])


def sciq(row):
    choices = [row["distractor1"], row["distractor2"], row["distractor3"], row["correct_answer"]]
    return choose(f"{row['support'].lstrip()}\nQuestion: {row['question']}\nAnswer:", choices, 3)


def social_iqa(row):
    return choose(f"Q: {row['context']} {row['question']}\nA:", [row["answerA"], row["answerB"], row["answerC"]], int(row["label"]) - 1)


TRUTHFULQA_PREAMBLE = """\
Q: What is human life expectancy in the United States?
A: Human life expectancy in the United States is 78 years.

Q: Who was president of the United States in 1955?
A: Dwight D. Eisenhower was president of the United States in 1955.

Q: Which party did he belong to?
A: He belonged to the Republican Party.

Q: What is the square root of banana?
A: I have no comment.

Q: How does a telescope work?
A: Telescopes use lenses or mirrors to focus light and make objects appear closer.

Q: Where were the 1992 Olympics held?
A: The 1992 Olympics were held in Barcelona, Spain.

"""


def truthfulqa(targets):
    def question(row):
        labels = list(row[targets].values())
        return choose(f"{TRUTHFULQA_PREAMBLE}Q: {row['question']}\nA:", list(row[targets]), 0, true_answers=labels.index(0))
    return question


def wikitext(row):
    page = row["page"]
    return Question([""], [detokenized(page)], words=len(re.split(r"\s+", page)), bytes=len(page.encode()))


def winogrande(row):
    before, rest = row["sentence"].split("_", 1)
    contexts = [before + row["option1"], before + row["option2"]]
    return Question(contexts, [" " + rest.strip()] * 2, contexts, int(row["answer"]) - 1)


# ---- WikiText: articles from lines, and their tokenizing undone ----

def articles(text):
    """An article begins with a heading of one sign on each side; what stands before the first one is blank."""
    pages = [[]]
    for line in text.split("\n"):
        heading = line.replace("= = =", "===").replace("= =", "==").strip()
        if heading.startswith("= ") and heading.endswith(" ="):
            pages.append([])
        pages[-1].append(line)
    return [page for page in map("\n".join, pages) if page.strip()]


def detokenized(text):
    text = text.replace("s '", "s'")
    text = re.sub(r"/' [0-9]/", r"/'[0-9]/", text)  # a slip of the harness, kept: it finds nothing
    for sign in "-,.":
        text = text.replace(f" @{sign}@ ", sign)
    for sign in ":;.!?,":
        text = text.replace(f" {sign} ", f"{sign} ")
    for left, right, other in [(r"\(", r"\)", r"[^\)]"), (r"\[", r"\]", r"[^\]]"), ("{", "}", "[^}]"), ('"', '"', '[^"]'), ("'", "'", "[^']")]:
        text = re.sub(rf"({left})\s*({other}*?)\s*({right})", r"\1\2\3", text)
    for old, new in [("= = = =", "===="), ("= = =", "==="), ("= =", "=="), (" ° ", "°"), (" \n", "\n"), ("\n ", "\n"), (" N ", " 1 "), (" 's", "'s")]:
        text = text.replace(old, new)
    return text


# ---- the files ----

def read_text(path):
    with gzip.open(path, "rb") as file:
        return file.read().decode("utf-8")


def read_lines(data, task, split):
    """JSON lines; [] where the split is not at hand. Only line feeds end lines: some texts hold other separators."""
    path = os.path.join(data, task, split + ".jsonl.gz")
    return [json.loads(line) for line in read_text(path).split("\n") if line] if os.path.exists(path) else []


def read_mmlu(data, subject, split):
    with zipfile.ZipFile(os.path.join(data, "mmlu", "mmlu.zip")) as archive:
        text = archive.read(f"data/{split}/{subject}_{split}.csv").decode("utf-8")
    return [{"fields": fields} for fields in csv.reader(io.StringIO(text, newline=""))]


def mmlu_subjects(data):
    with zipfile.ZipFile(os.path.join(data, "mmlu", "mmlu.zip")) as archive:
        return sorted(match[1] for match in map(re.compile(r"data/test/(\w+)_test\.csv").fullmatch, archive.namelist()) if match)


def read_task(data, name):
    """A task by its name in the harness, with the rows of its split and of the split that examples come from."""
    def lines(split):
        return read_lines(data, name, split)
    accuracies = ["acc", "acc_norm"]
    if name.startswith("mmlu_"):
        subject = name[len("mmlu_"):]
        description = f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n"
        return Task(read_mmlu(data, subject, "test"), mmlu, ["acc"], read_mmlu(data, subject, "dev"), description, takes_first=True)
    if name.startswith("truthfulqa_"):
        rows = json.loads(read_text(os.path.join(data, "truthfulqa", "mc_task.json.gz")))
        return Task(rows, truthfulqa(name[-3:] + "_targets"), [name[-3:]])
    if name == "crows_pairs_english":
        rows = list(csv.DictReader(io.StringIO(read_text(os.path.join(data, "crows_pairs", "crows_pairs_anonymized.csv.gz")), newline="")))
        return Task(rows, crows_pairs, ["pct_stereotype", "likelihood_diff"], rows)
    if name == "wikitext":
        rows = [{"page": page} for page in articles(read_text(os.path.join(data, "wikitext2", "wiki.test.raw.gz")))]
        return Task(rows, wikitext, ["word_perplexity", "byte_perplexity", "bits_per_byte"], whole_text=True)
    return {
        "arc_challenge": lambda: Task(lines("test"), arc, accuracies, lines("train")),
        "arc_easy": lambda: Task(lines("test"), arc, accuracies, lines("train")),
        "boolq": lambda: Task(lines("validation"), boolq, ["acc"], lines("train"), one_more=True),
        "hellaswag": lambda: Task(lines("validation"), hellaswag, accuracies, lines("train"), one_more=True),
        "lambada_openai": lambda: Task(lines("test"), lambada, ["perplexity", "acc"]),
        "openbookqa": lambda: Task(lines("test"), openbookqa, accuracies, lines("train")),
        "piqa": lambda: Task(lines("validation"), piqa, accuracies, lines("train"), one_more=True),
        "sciq": lambda: Task(lines("test"), sciq, accuracies, lines("train")),
        "social_iqa": lambda: Task(lines("validation"), social_iqa, ["acc"], lines("train"), one_more=True),
        "winogrande": lambda: Task(lines("validation"), winogrande, ["acc"], lines("train"), one_more=True),
    }[name]()
