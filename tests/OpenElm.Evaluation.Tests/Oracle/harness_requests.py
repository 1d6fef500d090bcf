#!/usr/bin/env python3
"""Makes the requests of lm-evaluation-harness at the paper's commit (dc90fec) with its own task files, task code and few-shot sampler.

    git clone https://github.com/EleutherAI/lm-evaluation-harness && git -C lm-evaluation-harness checkout dc90fec
    harness_requests.py lm-evaluation-harness made-up                 (writes made-up data of the official form, and made-up/requests.jsonl)
    harness_requests.py lm-evaluation-harness --hashes DATA/eval      (prints SHA-256 of the request lines on the real data)

Needs python3-yaml and python3-jinja2, not the harness' own dependencies: the few lines of lm_eval/api/task.py that turn templates into requests are
followed here (doc_to_text, doc_to_target, doc_to_choice, fewshot_context, construct_requests).
"""
import ast, csv, gzip, hashlib, importlib.util, io, json, os, random, sys, types, zipfile

import jinja2, yaml

sys.modules["datasets"] = types.SimpleNamespace(Dataset=object)  # only named in annotations
for unused in ("sacrebleu", "rouge_score"):  # metrics of tasks that write text
    sys.modules[unused] = types.SimpleNamespace(rouge_scorer=None, scoring=None)
HARNESS = os.path.join(sys.argv[1], "lm_eval")
ENV = jinja2.Environment(loader=jinja2.BaseLoader, undefined=jinja2.StrictUndefined)


def module(path):
    spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


SAMPLERS = module(os.path.join(HARNESS, "api/samplers.py"))


def config(path):
    folder = os.path.dirname(path)

    class Loader(yaml.SafeLoader):
        pass

    def function(loader, node):
        file, name = loader.construct_scalar(node).split(".")
        return getattr(module(os.path.join(folder, file + ".py")), name)
    Loader.add_constructor("!function", function)
    with open(path) as f:
        read = yaml.load(f, Loader)
    base = config(os.path.join(folder, read.pop("include"))) if "include" in read else {}
    return {**base, **read}


class Docs(list):
    def map(self, function):
        return Docs({**doc, **function(doc)} for doc in self)

    def __getitem__(self, at):
        return Docs(list.__getitem__(self, at)) if isinstance(at, slice) else list.__getitem__(self, at)


class Task:
    def __init__(self, path, splits):
        read = config(os.path.join(HARNESS, "tasks", path))
        keys = "training_split validation_split test_split fewshot_split process_docs doc_to_text doc_to_target doc_to_choice output_type fewshot_config".split()
        self.config = self._config = types.SimpleNamespace(
            **{k: read.get(k) for k in keys}, target_delimiter=read.get("target_delimiter", " "), fewshot_delimiter=read.get("fewshot_delimiter", "\n\n"),
            description=read.get("description", ""))
        c = self.config
        prepare = c.process_docs or (lambda docs: docs)
        self.docs = prepare(splits[c.test_split or c.validation_split])
        self.features = list(self.docs[0])
        source = c.fewshot_split or c.training_split or c.validation_split or c.test_split
        rule = (c.fewshot_config or {}).get("sampler", "default")
        self.sampler = SAMPLERS.get_sampler(rule)(prepare(splits.get(source, Docs())), self, rnd=random.Random(1234))
        self.multiple_input = c.doc_to_choice is not None and isinstance(self.doc_to_text(self.docs[0]), int)

    def apply(self, template, doc):
        return ENV.from_string(template).render(**doc)

    def doc_to_text(self, doc):
        t = self.config.doc_to_text
        if callable(t):
            return t(doc)
        if t in self.features:
            return doc[t]
        s = self.apply(t, doc)
        return ast.literal_eval(s) if s.isdigit() and self.config.doc_to_choice is not None else s

    def doc_to_target(self, doc):
        t = self.config.doc_to_target
        if isinstance(t, int):
            return t
        if callable(t):
            return t(doc)
        if t in self.features:
            return doc[t]
        s = self.apply(t, doc)
        return ast.literal_eval(s) if s.isdigit() and self.config.doc_to_choice is not None else s

    def doc_to_choice(self, doc):
        t = self.config.doc_to_choice
        if callable(t):
            return t(doc)
        if isinstance(t, str):
            return doc[t] if t in self.features else ast.literal_eval(self.apply(t, doc))
        return [self.apply(x, doc) for x in t]

    def requests(self, doc, shots):
        c = self.config
        if c.output_type == "loglikelihood_rolling":
            return [("", self.doc_to_target(doc))]
        before = self.apply(c.description, doc) + (self.sampler.get_context(doc, shots) if shots else "")
        if c.output_type == "loglikelihood":
            return [(before + self.doc_to_text(doc), self.doc_to_target(doc))]
        choices = self.doc_to_choice(doc)
        if self.multiple_input:
            return [(before + x, c.target_delimiter + self.doc_to_target(doc)) for x in choices]
        return [(before + self.doc_to_text(doc), c.target_delimiter + x) for x in choices]

    def lines(self, name, shots):
        for i, doc in enumerate(self.docs):
            for k, (context, continuation) in enumerate(self.requests(doc, shots)):
                yield json.dumps({"task": name, "doc_id": i, "idx": k, "context": context, "continuation": continuation}) + "\n"


# ---- made-up data of the official form: (our folder, harness file, our name, shots, row maker, splits)

WORDS = "the a bird stone river [title] [step] green ° quick said – “quoted” naïve 東京 😀 under_score = ' \" over, ( left ) it's".split(" ") + [" two  blanks "]


def text(r, n=6):
    return " ".join(r.choice(WORDS) for _ in range(n))


def sentence(r):
    return "x " + text(r, 4).replace("_", "-")


def problem(r):
    return {"question": text(r, 3) + r.choice(["?", "  _  .", " _ ."]), "answer": r.choice("ABCD"), "options": [text(r, 2) for _ in range(4)]}


def arc(r):
    n = r.choice([3, 4, 5])
    label = list("ABCDE" if r.random() < 0.7 else "12345")[:n]
    return {"id": text(r, 1), "question": text(r), "choices": {"text": [text(r, 3) for _ in label], "label": label}, "answerKey": r.choice(label)}


def truthful(r):
    labels = [1] * r.randint(1, 3) + [0] + [r.randint(0, 1) for _ in range(3)]
    return {"question": text(r), "mc1_targets": {"choices": [text(r, 3) for _ in range(4)], "labels": [1, 0, 0, 0]},
            "mc2_targets": {"choices": [text(r, 3) for _ in labels], "labels": labels}}


def page(r):
    return {"page": " = " + text(r, 2) + " = \n \n " + "\n ".join(text(r, 12) + " @-@ , @,@ . 's 12 N s ' [ b ] { c }" for _ in range(3)) + " \n"}


MADE_UP = [
    ("arc_easy", "arc/arc_easy.yaml", [0, 3], arc, {"train": 60, "test": 8}),
    ("boolq", "super_glue/boolq/default.yaml", [0, 2], lambda r: {"passage": text(r, 9), "question": text(r), "idx": 0, "label": r.randint(0, 1)}, {"train": 9, "validation": 8}),
    ("hellaswag", "hellaswag/hellaswag.yaml", [0, 5],
     lambda r: {"activity_label": text(r, 2), "ctx_a": text(r), "ctx_b": r.choice(["", text(r)]), "endings": ["e " + text(r) for _ in range(4)], "label": str(r.randint(0, 3))},
     {"train": 100, "validation": 8}),
    ("piqa", "piqa/piqa.yaml", [0, 4], lambda r: {"goal": text(r), "sol1": text(r), "sol2": text(r), "label": r.randint(0, 1)}, {"train": 30, "validation": 8}),
    ("sciq", "sciq/sciq.yaml", [0, 3], lambda r: {"question": text(r), "distractor1": text(r, 2), "distractor2": text(r, 2), "distractor3": text(r, 2),
                                                "correct_answer": text(r, 2), "support": r.choice(["", "  ", "\n"]) + r.choice(["", text(r)])}, {"train": 30, "test": 8}),
    ("winogrande", "winogrande/default.yaml", [0, 5], lambda r: {"sentence": sentence(r) + " _ " + text(r) + r.choice(["", " "]), "option1": text(r, 1), "option2": text(r, 1), "answer": r.choice("12")},
     {"train": 30, "validation": 8}),
    ("race", "race/race.yaml", [0], lambda r: {"article": text(r, 20), "problems": str([problem(r) for _ in range(r.randint(1, 4))])}, {"test": 8}),
    ("truthfulqa_mc1", "truthfulqa/truthfulqa_mc1.yaml", [0], truthful, {"validation": 5}),
    ("truthfulqa_mc2", "truthfulqa/truthfulqa_mc2.yaml", [0], truthful, {"validation": 5}),
    ("mmlu_anatomy", "mmlu/default/mmlu_anatomy.yaml", [0, 5], lambda r: {"question": r.choice(["", " "]) + text(r) + r.choice(["", "\n"]), "subject": "anatomy",
                                                                       "choices": [text(r, 2) for _ in range(4)], "answer": r.randint(0, 3)}, {"dev": 5, "test": 8}),
    ("crows_pairs_english", "crows_pairs/crows_pairs_english.yaml", [0, 25], lambda r: {"id": r.randint(0, 9999), "sent_more": text(r), "sent_less": text(r), "stereo_antistereo": 0, "bias_type": 1}, {"test": 40}),
    ("openbookqa", "openbookqa/openbookqa.yaml", [0, 2], lambda r: {**{k if k != "question" else "question_stem": v for k, v in arc(r).items()}}, {"train": 9, "test": 8}),
    ("social_iqa", "siqa/siqa.yaml", [0, 3], lambda r: {"context": text(r), "question": text(r), "answerA": text(r, 2), "answerB": text(r, 2), "answerC": text(r, 2), "label": r.choice("123")},
     {"train": 40, "validation": 8}),
    ("lambada_openai", "lambada/lambada_openai.yaml", [0], lambda r: {"text": text(r) + "\n" + text(r, 3) + " end"}, {"test": 6}),
    ("wikitext", "wikitext/wikitext.yaml", [0], page, {"test": 4}),
]


def made_up(folder):
    with open(os.path.join(folder, "requests.jsonl"), "w") as out:
        for name, path, shots, row, sizes in MADE_UP:
            r = random.Random(name.split("_mc")[0])
            splits = {split: Docs(row(r) for _ in range(size)) for split, size in sizes.items()}
            place = os.path.join(folder, {"mmlu_anatomy": "mmlu/anatomy", "crows_pairs_english": "crows_pairs"}.get(name, name.split("_mc")[0]))
            os.makedirs(place, exist_ok=True)
            for split, docs in splits.items():
                with open(os.path.join(place, split + ".jsonl"), "w") as f:
                    f.writelines(json.dumps(doc, ensure_ascii=False) + "\n" for doc in docs)
            for n in shots:
                out.writelines(Task(path, splits).lines("%s:%d" % (name, n), n))


# ---- the real data, in the bundled form

def hashes(folder):
    def rows(path):
        with gzip.open(os.path.join(folder, path), "rt", encoding="utf-8-sig", newline="") as f:
            return [json.loads(x) for x in f.read().split("\n") if x]

    def ai2(r, key="question"):
        letters = list("ABCDE")[: len(r["choices"])]
        return {key: r[key], "choices": {"text": r["choices"], "label": letters}, "answerKey": letters[r["label"]]}

    def report(name, path, shots, splits):
        h = hashlib.sha256()
        for line in Task(path, splits).lines(name, shots):
            h.update(line.encode())
        print('[InlineData("%s", %d, "%s")]' % (name, shots, h.hexdigest()))

    for name in ("arc_easy", "arc_challenge"):
        splits = {s: Docs(ai2(r) for r in rows("%s/%s.jsonl.gz" % (name, s))) for s in ("train", "test")}
        for shots in (0, 25):
            report(name, "arc/%s.yaml" % name, shots, splits)
    report("boolq", "super_glue/boolq/default.yaml", 0, {"validation": Docs({**r, "label": int(r["answer"])} for r in rows("boolq/validation.jsonl.gz"))})
    report("piqa", "piqa/piqa.yaml", 0, {"validation": Docs(rows("piqa/validation.jsonl.gz"))})
    report("winogrande", "winogrande/default.yaml", 0, {"validation": Docs(rows("winogrande/validation.jsonl.gz"))})
    report("openbookqa", "openbookqa/openbookqa.yaml", 0,
           {"test": Docs(ai2(r, "question_stem") for r in rows("openbookqa/test.jsonl.gz"))})
    report("social_iqa", "siqa/siqa.yaml", 0, {"validation": Docs(rows("social_iqa/validation.jsonl.gz"))})
    report("lambada_openai", "lambada/lambada_openai.yaml", 0, {"test": Docs({"text": r["context"] + " " + r["continuation"]} for r in rows("lambada_openai/test.jsonl.gz"))})
    with gzip.open(os.path.join(folder, "truthfulqa/mc_task.json.gz")) as f:
        items = json.load(f)
    pack = lambda d: {"choices": list(d), "labels": list(d.values())}
    splits = {"validation": Docs({"question": r["question"], "mc1_targets": pack(r["mc1_targets"]), "mc2_targets": pack(r["mc2_targets"])} for r in items)}
    report("truthfulqa_mc1", "truthfulqa/truthfulqa_mc1.yaml", 0, splits)
    report("truthfulqa_mc2", "truthfulqa/truthfulqa_mc2.yaml", 0, splits)
    with gzip.open(os.path.join(folder, "crows_pairs/crows_pairs_anonymized.csv.gz"), "rt", encoding="utf-8-sig", newline="") as f:
        report("crows_pairs_english", "crows_pairs/crows_pairs_english.yaml", 25, {"test": Docs({k or "id": v for k, v in r.items()} for r in csv.DictReader(f))})
    z = zipfile.ZipFile(os.path.join(folder, "mmlu/mmlu.zip"))
    for subject in ("anatomy", "us_foreign_policy", "high_school_us_history"):
        def read(split):
            with io.StringIO(z.read("data/%s/%s_%s.csv" % (split, subject, split)).decode("utf-8"), newline="") as f:
                return Docs({"question": r[0], "choices": r[1:5], "answer": "ABCD".index(r[5])} for r in csv.reader(f))
        report("mmlu_" + subject, "mmlu/default/mmlu_%s.yaml" % subject, 5, {"test": read("test"), "dev": read("dev")})


hashes(sys.argv[3]) if sys.argv[2] == "--hashes" else made_up(sys.argv[2])
