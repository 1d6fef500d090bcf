using System.Text.Json;
using System.Text.Json.Nodes;

namespace OpenElm.Cli.Tests;

public sealed class EvaluateCommandTests : IDisposable
{
    static readonly string Stories = Path.Combine(RepositoryFiles.Root, "samples", "stories260k");

    readonly TemporaryFolder _folder = new();

    public EvaluateCommandTests()
    {
        // Six questions in the bundled form of ARC and PIQA, made up here.
        Directory.CreateDirectory(_folder["data/arc_easy"]);
        File.WriteAllLines(_folder["data/arc_easy/test.jsonl"], Enumerable.Range(0, 6).Select(i =>
            $"{{\"id\": \"q{i}\", \"question\": \"What did Lily see on day {i}?\", \"choices\": [\"a big dog\", \"a {(i % 2 == 0 ? "ball" : "red cat")}\", \"the sun\"], \"label\": {i % 3}}}"));
        Directory.CreateDirectory(_folder["data/piqa"]);
        File.WriteAllLines(_folder["data/piqa/validation.jsonl"], Enumerable.Range(0, 6).Select(i =>
            $"{{\"goal\": \"Open box {i}\", \"sol1\": \"Use your hands.\", \"sol2\": \"Eat the box.\", \"label\": {i % 2}}}"));
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Tasks_give_the_harness_table_and_results_that_can_be_read()
    {
        (int code, string output, string error) = Evaluate(Stories, "--tasks", "arc_easy,piqa", "--output", _folder["out"], "--no-cache");
        Assert.True(code == 0, error);
        Assert.Matches(@"\| arc_easy \|     0 \| acc      \| \d\.\d{4} \| ±   \| \d\.\d{4} \|         6 \|", output);
        Assert.Contains("30 requests", error);
        JsonElement document = JsonDocument.Parse(File.ReadAllText(_folder["out/results.json"])).RootElement;
        Assert.Equal(["arc_easy", "piqa"], document.GetProperty("tasks").EnumerateArray().Select(task => task.GetProperty("name").GetString()));
        Assert.Equal(6, File.ReadAllLines(_folder["out/samples/piqa.0-shot.jsonl"]).Length);
        (_, string json, _) = Evaluate(Stories, "--tasks", "arc_easy,piqa", "--no-cache", "--json", "--batch-size", "1");
        Assert.Equal(document.GetProperty("tasks").ToString(), JsonDocument.Parse(json).RootElement.GetProperty("tasks").ToString());
    }

    [Fact]
    public void The_training_runtime_scores_by_itself_whatever_the_format()
    {
        string tokenizer = Path.Combine(RepositoryFiles.Root, "samples", "tokenizer", "mistral", "tokenizer.model");
        Assert.Equal(0, Openelm.Run("convert", "--random", "gpt-test", _folder["random.gguf"], "--tokenizer", tokenizer).Code); // gate and up lie apart there
        foreach (string model in new[] { Stories, _folder["random.gguf"] })
        {
            (string runtime, double[] expected) = Scores(model, "inference");
            Assert.StartsWith("inference ", runtime);
            (runtime, double[] scores) = Scores(model, "training");
            Assert.Equal("training cpu fp32", runtime);
            Assert.NotEqual(expected, scores); // sums in another order: the other runtime has computed
            Assert.All(expected.Zip(scores), pair => Assert.InRange(pair.Second / pair.First, 1 - 1e-5, 1 + 1e-5));
        }

        (string Runtime, double[] Scores) Scores(string model, string runtime)
        {
            string folder = _folder[$"{runtime}-{Path.GetFileName(model)}"];
            (int code, _, string error) = Evaluate(model, "--tasks", "arc_easy", "--no-cache", "--runtime", runtime, "--output", folder);
            Assert.True(code == 0, error);
            return (
                JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "results.json"))).RootElement.GetProperty("runtime").GetString()!,
                [.. File.ReadLines(Path.Combine(folder, "samples", "arc_easy.0-shot.jsonl")).SelectMany(line =>
                    JsonDocument.Parse(line).RootElement.GetProperty("logprobs").EnumerateArray().Select(value => value.GetDouble()))]);
        }
    }

    [Fact]
    public void A_second_evaluation_is_answered_from_the_cache()
    {
        string[] arguments = [Stories, "--tasks", "arc_easy", "--cache", _folder["answers"], "--json"];
        JsonElement first = JsonDocument.Parse(Evaluate(arguments).Output).RootElement, second = JsonDocument.Parse(Evaluate(arguments).Output).RootElement;
        Assert.True(first.GetProperty("cost").GetProperty("tokens_computed").GetInt64() > 0);
        Assert.Equal(0, second.GetProperty("cost").GetProperty("tokens_computed").GetInt64());
        Assert.Equal(first.GetProperty("tasks").ToString(), second.GetProperty("tasks").ToString());
    }

    [Fact]
    public void Requests_written_out_and_scored_elsewhere_give_the_same_results()
    {
        Assert.Equal(0, Evaluate("--tasks", "arc_easy,piqa", "--write-out", _folder["requests.jsonl"]).Code);
        JsonElement[] requests = [.. File.ReadAllLines(_folder["requests.jsonl"]).Select(line => JsonDocument.Parse(line).RootElement)];
        Assert.Equal(30, requests.Length);
        Assert.Equal("Question: What did Lily see on day 0?\nAnswer:", requests[0].GetProperty("context").GetString());
        Assert.Equal(" a ball", requests[1].GetProperty("continuation").GetString());

        // The other engine is openelm score: another path through the same model.
        Assert.Equal(0, Openelm.Run("score", Stories, "--input", _folder["requests.jsonl"], "--output", _folder["scored.jsonl"]).Code);
        File.WriteAllLines(_folder["scores.jsonl"], File.ReadAllLines(_folder["scored.jsonl"]).Select(line => JsonNode.Parse(line)!).Select(line => new JsonObject
        {
            ["task"] = (string?)line["task"],
            ["doc_id"] = (int)line["doc_id"]!,
            ["idx"] = (int)line["idx"]!,
            ["logprob"] = (double)line["sum"]!,
            ["is_greedy"] = (bool)line["is_greedy"]!,
        }.ToJsonString()));
        (int code, string theirs, string error) = Evaluate("--tasks", "arc_easy,piqa", "--scores", _folder["scores.jsonl"]);
        Assert.True(code == 0, error);
        Assert.Equal(Evaluate(Stories, "--tasks", "arc_easy,piqa", "--no-cache").Output, theirs);

        File.WriteAllLines(_folder["scores.jsonl"], File.ReadAllLines(_folder["scores.jsonl"])[1..]);
        (code, _, error) = Evaluate("--tasks", "arc_easy,piqa", "--scores", _folder["scores.jsonl"]);
        Assert.Equal(2, code);
        Assert.Contains("1 requests have no score: arc_easy document 0 request 0", error);
    }

    [Fact]
    public void Two_results_are_compared()
    {
        Assert.Equal(0, Evaluate(Stories, "--tasks", "arc_easy", "--no-cache", "--output", _folder["a"]).Code);
        Assert.Equal(0, Evaluate(Stories, "--tasks", "arc_easy", "--no-cache", "--output", _folder["b"], "--num-fewshot", "0").Code);
        (int code, string output, string error) = Openelm.Run("evaluate", "compare", _folder["a"], _folder["b"]);
        Assert.True(code == 0, error);
        Assert.Contains("noise", output);
        Assert.Contains("0 of 2 have p < 0.05", output);
        (code, string json, _) = Openelm.Run("evaluate", "compare", _folder["a"], _folder["b"], "--json");
        Assert.Equal(1, JsonDocument.Parse(json).RootElement.GetProperty("comparisons")[0].GetProperty("p_value").GetDouble());
        Assert.Equal(2, Openelm.Run("evaluate", "compare", _folder["a"], _folder["none"]).Code);
    }

    [Fact]
    public void A_comparison_goes_into_the_report_of_a_run()
    {
        Assert.Equal(0, Evaluate(Stories, "--tasks", "arc_easy", "--no-cache", "--output", _folder["a"]).Code);
        File.WriteAllText(_folder["report.html"], "<h1>run</h1>\n<!-- evaluation -->\nan earlier one\n<!-- /evaluation -->\n</body>");
        Assert.Equal(0, Openelm.Run("evaluate", "compare", _folder["a"], _folder["a"], "--report", _folder["report.html"]).Code);
        string report = File.ReadAllText(_folder["report.html"]);
        Assert.Contains("<td>arc_easy</td><td>acc</td>", report);
        Assert.DoesNotContain("an earlier one", report);
        File.WriteAllText(_folder["other.html"], "<p>other</p>");
        (int code, _, string error) = Openelm.Run("evaluate", "compare", _folder["a"], _folder["a"], "--report", _folder["other.html"]);
        Assert.Equal(2, code);
        Assert.Contains("is not the report of a training run", error);
    }

    [Fact]
    public void A_suite_stops_at_missing_data_unless_told_to_skip()
    {
        (int code, _, string error) = Evaluate(Stories, "--suite", "zero-shot", "--no-cache");
        Assert.Equal(2, code);
        Assert.Contains("boolq", error);
        Assert.Contains("winogrande", error); // all at once
        (code, string output, error) = Evaluate(Stories, "--suite", "zero-shot", "--no-cache", "--skip-missing");
        Assert.True(code == 0, error);
        Assert.Contains("left out: boolq", error);
        Assert.Contains("| Zero-shot (%)", output);
        Assert.Contains("–", output);
    }

    [Fact]
    public void Stand_ins_are_taken_on_request_and_told_everywhere()
    {
        Directory.Move(_folder["data/arc_easy"], _folder["data/sciq"]);
        File.Delete(_folder["data/sciq/test.jsonl"]);
        File.WriteAllLines(_folder["data/sciq/validation.jsonl"], Enumerable.Range(0, 3).Select(i =>
            $"{{\"support\": \"Fact {i}.\", \"question\": \"What?\", \"distractor1\": \"a\", \"distractor2\": \"b\", \"distractor3\": \"c\", \"correct_answer\": \"d\"}}"));
        (int code, _, string error) = Evaluate(Stories, "--suite", "zero-shot", "--no-cache", "--skip-missing");
        Assert.Equal(0, code);
        Assert.Contains("left out: sciq (0-shot): sciq needs the split 'test'", error);
        Assert.Contains("take the split 'validation' instead with --allow-stand-ins", error);
        (code, string output, error) = Evaluate(Stories, "--suite", "zero-shot", "--no-cache", "--skip-missing", "--allow-stand-ins");
        Assert.Equal(0, code);
        Assert.Contains("stand-in: sciq (0-shot): the documents are from the split 'validation': the split 'test' is missing", error);
        Assert.Contains("| sciq [1] ", output);
        Assert.Contains("| SciQ (0) [1] |", output);
        Assert.Contains("1 of 7 columns uses data that stand in", output);
        (code, output, error) = Evaluate(Stories, "--tasks", "piqa,sciq", "--no-cache", "--num-fewshot", "2", "--allow-stand-ins", "--json");
        Assert.True(code == 0, error);
        Assert.Equal(["examples", "documents examples"], JsonDocument.Parse(output).RootElement.GetProperty("tasks").EnumerateArray()
            .Select(task => string.Join(' ', task.GetProperty("stand_ins").EnumerateArray().Select(standIn => standIn.GetProperty("kind").GetString()))));
    }

    [Fact]
    public void Written_answers_are_those_of_generate_with_beams()
    {
        // The official form: a list of instructions, whose last line says what the answers are. Short ones, for a context of 512 tokens.
        Directory.CreateDirectory(_folder["data/commonsense/boolq"]);
        File.WriteAllText(_folder["data/commonsense/boolq/test.json"], new JsonArray([.. Enumerable.Range(0, 5).Select(i => new JsonObject
        {
            ["instruction"] = $"Is {i} big?\n\nAnswer format: true/false",
            ["input"] = "",
            ["output"] = "the correct answer is true",
            ["answer"] = "true",
        })]).ToJsonString());
        // A task of one's own whose answers this model does write.
        File.WriteAllLines(_folder["data/names.jsonl"], ["{\"who\": \"Once upon a time, there was a little\", \"name\": \"girl\"}", "{\"who\": \"One day, a big dog and a\", \"name\": \"zebra\"}"]);
        File.WriteAllText(_folder["data/names.yaml"], "task: names\nfiles: { test: [names.jsonl] }\ntest_split: test\nprompt: \"{{ who }}\"\nanswer_pattern: \"[a-z]+\"\nanswer: \"{{ name }}\"\ngeneration: { beams: 3, max_tokens: 6 }\nmetrics: [acc]\n");
        string[] arguments = [Stories, "--tasks", $"commonsense_generation_boolq,arc_easy,{_folder["data/names.yaml"]}", "--limit", "3", "--cache", _folder["answers"], "--output", _folder["out"]];
        (int code, string output, string error) = Evaluate(arguments);
        Assert.True(code == 0, error);
        Assert.Matches(@"5 texts, 0 known before; \d+ tokens written", error);
        Assert.Matches(@"\| names +\|     0 \| acc      \| 0\.\d", output);

        JsonElement[] answers = [.. File.ReadAllLines(_folder["out/samples/names.0-shot.jsonl"]).Select(line => JsonDocument.Parse(line).RootElement)];
        foreach ((JsonElement answer, string prompt) in answers.Zip(["Once upon a time, there was a little", "One day, a big dog and a"]))
        {
            (_, string text, _) = Openelm.Run("generate", Stories, "--prompt", prompt, "--beams", "3", "--max-tokens", "6", "--no-echo");
            Assert.Equal(text.TrimEnd('\n'), answer.GetProperty("text").GetString());
            string first = System.Text.RegularExpressions.Regex.Match(text, "[a-z]+").Value;
            Assert.Equal(first, answer.GetProperty("answer").GetString());
            Assert.Equal(first == answer.GetProperty("expected").GetString() ? 1 : 0, answer.GetProperty("metrics").GetProperty("acc").GetDouble());
        }

        Assert.Equal([1, 0], answers.Select(answer => answer.GetProperty("metrics").GetProperty("acc").GetDouble()));
        JsonElement[] written = [.. File.ReadAllLines(_folder["out/samples/commonsense_generation_boolq.0-shot.jsonl"]).Select(line => JsonDocument.Parse(line).RootElement)];
        Assert.Equal(3, written.Length);
        Assert.All(written, line => Assert.False(line.TryGetProperty("logprobs", out _)));

        File.Move(_folder["out/results.json"], _folder["first.json"]);
        (_, string again, error) = Evaluate(arguments);
        Assert.Equal(output, again);
        Assert.Contains("5 texts, 5 known before; 0 tokens written", error);
        Assert.Equal(answers.Select(answer => answer.ToString()), File.ReadAllLines(_folder["out/samples/names.0-shot.jsonl"]));
    }

    [Fact]
    public void Written_answers_do_not_go_with_requests_in_a_file()
    {
        (int code, _, string error) = Evaluate("--tasks", "commonsense_generation_boolq", "--write-out", _folder["requests.jsonl"]);
        Assert.Equal(2, code);
        Assert.Contains("commonsense_generation_boolq has the model write its answers", error);
    }

    [Fact]
    public void All_checkpoints_of_a_run_give_a_curve()
    {
        foreach (string name in new[] { "run/checkpoints/step-00000010", "run/checkpoints/step-00000020", "run/average" })
        {
            CopyModel(_folder[name]);
        }

        File.WriteAllText(_folder["run/report.html"], "<h1>run</h1>\n<!-- evaluation -->\n<!-- /evaluation -->\n");
        (int code, string output, string error) = Evaluate(_folder["run"], "--all-checkpoints", "--tasks", "arc_easy,piqa", "--cache", _folder["answers"]);
        Assert.True(code == 0, error);
        Assert.Contains("| step-00000020 |         20 |", output);
        Assert.Contains("| average ", output);
        Assert.Contains("<svg", File.ReadAllText(_folder["run/evaluation.html"]));
        Assert.Contains("<svg", File.ReadAllText(_folder["run/report.html"]));
        Assert.Equal(7, File.ReadAllLines(_folder["run/evaluation/evaluation.csv"]).Length);
        Assert.True(File.Exists(_folder["run/evaluation/piqa.svg"]) && File.Exists(_folder["run/evaluation/step-00000010/results.json"]));
        Assert.Equal(2, Evaluate(_folder["data"], "--all-checkpoints", "--tasks", "piqa", "--no-cache").Code);
    }

    [Fact]
    public void A_stopped_evaluation_says_so()
    {
        using var stop = new CancellationTokenSource();
        stop.Cancel();
        using StringWriter output = new(), error = new();
        int code = Program.Run(["evaluate", Stories, "--tasks", "arc_easy", "--data", _folder["data"], "--no-cache"], output, error, cancellation: stop.Token);
        Assert.Equal((130, ""), (code, output.ToString()));
    }

    [Theory]
    [InlineData("name a --suite or --tasks", "model")]
    [InlineData("name a model, or ask for --write-out or --scores", "--tasks", "piqa")]
    [InlineData("--scores stands for a model", "model", "--tasks", "piqa", "--scores", "file")]
    [InlineData("a suite has its own numbers", "model", "--suite", "openllm", "--num-fewshot", "3")]
    [InlineData("--limit is 0", "model", "--tasks", "piqa", "--limit", "0")]
    [InlineData("There is no suite 'best'", "model", "--suite", "best")]
    [InlineData("no task 'pika'", "model", "--tasks", "pika")]
    [InlineData("runs on cpu only", "model", "--tasks", "piqa", "--device", "cuda")]
    [InlineData("--torch is for the training runtime", "model", "--tasks", "piqa", "--torch", "folder")]
    [InlineData("--threads, --kernels and --kv are for the inference runtime", "model", "--tasks", "piqa", "--runtime", "training", "--kv", "BF16")]
    public void A_wrong_request_is_told(string reason, params string[] arguments)
    {
        (int code, _, string error) = Evaluate(arguments);
        Assert.Equal(2, code);
        Assert.Contains(reason, error, StringComparison.Ordinal);
    }

    [Fact]
    public void Help_ends_with_examples()
    {
        (int code, string output, _) = Openelm.Run("evaluate", "--help");
        Assert.Equal(0, code);
        Assert.Contains("openelm evaluate compare results/270m results/mine", output);
    }

    (int Code, string Output, string Error) Evaluate(params string[] arguments) => Openelm.Run(["evaluate", .. arguments, "--data", _folder["data"]]);

    static void CopyModel(string destination)
    {
        Directory.CreateDirectory(destination);
        foreach (string file in Directory.GetFiles(Stories).Where(file => !file.EndsWith("golden.json", StringComparison.Ordinal)))
        {
            File.Copy(file, Path.Combine(destination, Path.GetFileName(file)));
        }
    }
}
