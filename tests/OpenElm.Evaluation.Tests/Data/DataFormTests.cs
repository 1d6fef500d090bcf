using OpenElm.Data.Rows;
using OpenElm.Evaluation.Data;
using OpenElm.Evaluation.Tasks;
using OpenElm.Evaluation.Tests.Tasks;
using Parquet.Serialization;

namespace OpenElm.Evaluation.Tests.Data;

/// <summary>Parquet in Hugging Face's layout, csv to the letter, a user's own task, and what is said of wrong data.</summary>
public sealed class DataFormTests
{
    [Fact]
    public async Task Parquet_shards_with_structs_and_lists()
    {
        using var data = new TaskFolder();
        for (int shard = 0; shard < 2; shard++)
        {
            await Write(Path.Combine(data.Path, "ai2_arc", "ARC-Easy", $"test-0000{shard}-of-00002.parquet"),
                new ArcRow { question = $"Q{shard}?", choices = new ArcChoices { text = ["ice", "née", "東"], label = ["A", "B", "C"] }, answerKey = "C" });
        }

        EvaluationItem[] items = data.Items("arc_easy");
        Assert.Equal(["Question: Q0?\nAnswer:", "Question: Q1?\nAnswer:"], items.Select(item => item.Requests[0].Context));
        Assert.Equal(["ice", "née", "東"], items[0].Choices);
        Assert.Equal(2, items[0].Gold);
    }

    [Fact]
    public async Task Parquet_lists_and_numbers()
    {
        using var data = new TaskFolder();
        await Write(Path.Combine(data.Path, "mmlu", "anatomy", "test-00000-of-00001.parquet"), new MmluRow { question = "Q", choices = ["a", "b", "c", "d"], answer = 2 });
        EvaluationItem item = data.Items("mmlu_anatomy")[0];
        Assert.Equal(2, item.Gold);
        Assert.EndsWith("Q\nA. a\nB. b\nC. c\nD. d\nAnswer:", item.Requests[0].Context);
    }

    [Fact]
    public void A_damaged_parquet_file_is_named()
    {
        using TaskFolder data = new TaskFolder().With("arc_easy/test-00000-of-00001.parquet", "PAR1 no more");
        Assert.StartsWith("DATA/arc_easy/test-00000-of-00001.parquet is damaged or no parquet file: ", data.Refusal("arc_easy"));
    }

    [Fact]
    public void Csv_keeps_fields_to_the_letter()
    {
        // python3 -c "import csv, io; print(list(csv.reader(io.StringIO('a,\" b\r\n\"\"c\"\"\"x, d\r\n\r\n\"\",e\"f,', newline=''))))"
        List<DataRow> rows = CsvRows.Read("a,\" b\r\n\"\"c\"\"\"x, d\r\n\r\n\"\",e\"f,", "f.csv", ["x", "y", "z"]);
        Assert.Equal(["a", " b\r\n\"c\"x", " d"], rows[0].Values.Values);
        Assert.Equal(["", "e\"f", ""], rows[1].Values.Values);
        Assert.Equal(2, rows[1].Number);
    }

    [Theory]
    [InlineData("a,b\n1", "f.csv row 1 has 1 fields where 2 are needed: a, b.")]
    [InlineData("a,b\n1,2\n\"3,4\n", "f.csv row 2 opens a quote that is never closed.")]
    public void Wrong_csv_is_named(string text, string message) =>
        Assert.Equal(message, Assert.Throws<OpenElmException>(() => CsvRows.Read(text, "f.csv", [])).Message);

    [Fact]
    public void A_users_task_is_a_yaml_file_beside_its_data()
    {
        using TaskFolder data = new TaskFolder()
            .With("mine/capitals.csv", "\uFEFFcountry,right,wrong\r\nFrance,Paris,Rome\r\nItaly,Rome,Paris\r\n")
            .With("mine/capitals.yaml", """
                task: capitals
                files:
                  test: [capitals.csv]
                test_split: test
                prompt: "The capital of {{ country }} is"
                choices: "{{ [right, wrong] }}"
                target: "0"
                metrics: [acc]
                shots: 1
                """);
        IEvaluationTask task = TaskCatalog.Load(Path.Combine(data.Path, "mine", "capitals.yaml")).Single();
        EvaluationItem[] items = [.. task.Prepare(data.Data, new ItemOptions()).Items];
        Assert.Equal(" Paris", items[0].Requests[0].Continuation);
        Assert.EndsWith("The capital of France is", items[0].Requests[0].Context);
        Assert.Equal(1, task.ShotsWith(new ItemOptions()));
    }

    [Fact]
    public void All_problems_of_a_task_file_are_told_at_once()
    {
        using TaskFolder data = new TaskFolder().With("t.yaml", "task: t\nprompt: \"{{ x \"\nmetrics: []\nshots: -1\n").With("u.yaml", "task: u\nchoises: \"{{ y }}\"\n");
        string Told(string file) => Assert.Throws<OpenElmException>(() => TaskCatalog.Load(Path.Combine(data.Path, file))).Message;
        string impossible = Told("t.yaml"), unknown = Told("u.yaml");
        Assert.All(["test_split is missing", "choices is missing", "t.yaml:4: shots is -1", "t.yaml:2: prompt is no valid template", "metrics is empty"], part => Assert.Contains(part, impossible));
        Assert.All(["u.yaml:2: choises is not a known key; did you mean choices?", "metrics is missing"], part => Assert.Contains(part, unknown));
    }

    [Fact]
    public void Unknown_tasks_are_corrected()
    {
        Assert.Equal("There is no task 'arc_esay'; did you mean arc_easy?", Assert.Throws<OpenElmException>(() => TaskCatalog.Get("arc_esay")).Message);
    }

    [Theory]
    [InlineData("""{"question":"Q","choices":["a","b"],"label":0}|{"question":"Q",""", "row 2 is not valid JSON")]
    [InlineData("""{"question":"Q","choices":[],"label":0}""", "row 1 has no choices.")]
    [InlineData("""{"question":"Q","choices":["a"," "],"label":0}""", "row 1 has nothing in choice 2.")]
    [InlineData("""{"question":"Q","choices":["a",7],"label":0}""", "row 1 has a number as choice 2, not text.")]
    [InlineData("""{"question":"Q","choices":"ab","label":0}""", "row 1 has text as its choices, not a list.")]
    [InlineData("""{"question":"Q","choices":["a","b"],"label":2}""", "row 1 has the answer 2, which must be from 0 to 1.")]
    [InlineData("""{"question":"Q","choices":["a","b"],"label":-1}""", "row 1 has the answer -1, which must be from 0 to 1; rows without an answer cannot be evaluated.")]
    [InlineData("""{"question":"Q","choices":["a","b"],"label":0.5}""", "row 1 has a number as its answer, not a whole number.")]
    [InlineData("""{"question":"Q","choices":["a","b"],"label":"x"}""", "row 1 has 'x' as its answer, not a whole number.")]
    [InlineData("""{"query":"Q","choices":["a","b"],"label":0}""", "question is not defined. Its columns are query, choices, label.")]
    [InlineData("""{"question":"Q","choices":{"text":["a"],"label":["A"]},"answerKey":"E"}""", "the list has no item \"E\"; it has [\"A\"].")]
    [InlineData("""{"question":"\ud800","choices":["a","b"],"label":0}""", "row 1 holds a text that is not valid Unicode")]
    [InlineData("""["a"]""", "row 1 is String where an object with columns is needed.")]
    [InlineData("", "has no rows.")]
    public void Wrong_rows_are_named(string rows, string message)
    {
        using TaskFolder data = new TaskFolder().With("arc_easy/test.jsonl.gz", rows.Replace('|', '\n'));
        string refusal = data.Refusal("arc_easy");
        Assert.StartsWith("DATA/arc_easy/test.jsonl.gz ", refusal);
        Assert.Contains(message, refusal);
    }

    [Fact]
    public void A_cut_off_file_is_named()
    {
        using TaskFolder data = new TaskFolder().With("arc_easy/test.jsonl.gz", """{"question":"Q","choices":["a","b"],"label":0}""");
        string path = Path.Combine(data.Path, "arc_easy", "test.jsonl.gz");
        File.WriteAllBytes(path, File.ReadAllBytes(path)[..^6]);
        Assert.StartsWith("DATA/arc_easy/test.jsonl.gz cannot be read: ", data.Refusal("arc_easy"));
    }

    [Fact]
    public void A_missing_file_is_named_with_all_places()
    {
        using var data = new TaskFolder();
        Assert.StartsWith("arc_easy needs the split 'test', and none of these files is there: DATA/arc_easy/test.{jsonl,json,csv,parquet}[.gz], DATA/arc_easy/[data/]test-*.parquet, "
            + "DATA/ai2_arc/ARC-Easy/test.", data.Refusal("arc_easy"));
        Assert.Contains("DATA/mmlu/mmlu.zip!data/test/virology_test.csv", data.Refusal("mmlu_virology"));
    }

    [Fact]
    public void Examples_of_a_missing_split_are_refused_or_drawn_from_the_others()
    {
        using TaskFolder data = new TaskFolder().With("piqa/validation.jsonl", string.Join('\n', Enumerable.Range(0, 4).Select(i => $$"""{"goal":"g{{i}}","sol1":"a","sol2":"b","label":1}""")));
        Assert.StartsWith("piqa needs the split 'train'", data.Refusal("piqa", new ItemOptions { Shots = 2 }));
        var standIn = new ItemOptions { Shots = 2, AllowStandIns = true };
        PreparedTask prepared = TaskCatalog.Get("piqa").Single().Prepare(data.Data, standIn);
        Assert.Equal([new StandIn(StandInKind.Examples, "train", "the evaluated documents")], prepared.StandIns);
        foreach (EvaluationItem item in prepared.Items)
        {
            string context = item.Requests[0].Context;
            Assert.Equal(2, context.Split(" b\n\n").Length - 1);
            Assert.Equal(2, context.Split($"g{item.DocumentId}\n").Length); // itself only once, as the question
        }

        Assert.Contains("draws 5, but", data.Refusal("piqa", standIn with { Shots = 4 }));
    }

    [Fact]
    public void The_validation_split_stands_in_for_a_missing_test_split_where_allowed()
    {
        const string Row = """{"question":"Q?","support":"S.","distractor1":"x","distractor2":"y","distractor3":"z","correct_answer":"right"}""";
        using TaskFolder data = new TaskFolder().With("sciq/validation.jsonl", Row);
        Assert.EndsWith(", or take the split 'validation' instead with --allow-stand-ins.", data.Refusal("sciq"));
        PreparedTask Allowed() => TaskCatalog.Get("sciq").Single().Prepare(data.Data, new ItemOptions { AllowStandIns = true });
        Assert.Equal([new StandIn(StandInKind.Documents, "test", "the split 'validation'")], Allowed().StandIns);
        Assert.Equal("the documents are from the split 'validation': the split 'test' is missing", Allowed().StandIns[0].Description);
        Assert.Single(Allowed().Items);
        data.With("sciq/test.jsonl", Row + "\n" + Row);
        Assert.Empty(Allowed().StandIns); // the official split is there
        Assert.Equal(2, Allowed().Items.Length);
        Assert.DoesNotContain("--allow-stand-ins", data.Refusal("race", new ItemOptions { AllowStandIns = true })); // nothing could stand in
    }

    [Theory]
    [InlineData("""{"activity_label":"Travel","query":"Travel: A man sits. He","endings":["runs.","eats.","stands up.","flies."],"label":2}""", "Travel: A man sits. He")]
    [InlineData("""{"ind":1,"activity_label":"Travel","ctx_a":"[header] How to sit","ctx_b":"he","ctx":"[header] How to sit he","endings":["runs.","eats.","stands up.","flies."],"label":"2"}""", "Travel: [header] How to sit he")]
    public void HellaSwag_is_put_into_the_wording_of_LLM_Adapters(string row, string sentence)
    {
        using TaskFolder data = new TaskFolder().With("hellaswag/validation.jsonl", row);
        Assert.Contains("take hellaswag/validation.jsonl instead with --allow-stand-ins", data.Refusal("commonsense_hellaswag"));
        Assert.DoesNotContain("--allow-stand-ins", data.Refusal("commonsense_boolq"));
        PreparedTask task = TaskCatalog.Get("commonsense_hellaswag").Single().Prepare(data.Data, new ItemOptions { AllowStandIns = true });
        EvaluationItem item = Assert.Single(task.Items);
        Assert.Equal(CommonsenseQuestion.Prompt($"Please choose the correct ending to complete the given sentence: {sentence}\n\n"
            + "Ending1: runs. Ending2: eats. Ending3: stands up. Ending4: flies.\n\nAnswer format: ending1/ending2/ending3/ending4"), item.Requests[0].Context);
        Assert.Equal(("the correct answer is ending3", 2), (item.Choices[item.Gold], item.Gold));
        Assert.Equal([new StandIn(StandInKind.Documents, "test", "hellaswag/validation.jsonl")], task.StandIns);
        data.With("hellaswag/validation.jsonl", row.Replace("\"label\":2", "\"label\":7", StringComparison.Ordinal).Replace("\"2\"", "\"\"", StringComparison.Ordinal));
        Assert.Contains("row 1 has no label from 0 to 3", data.Refusal("commonsense_hellaswag", new ItemOptions { AllowStandIns = true }));
    }

    [Fact]
    public void Metrics_and_stand_ins_of_a_task_file_are_checked_when_it_is_read()
    {
        using TaskFolder data = new TaskFolder().With("t.yaml", "task: t\ntest_split: test\nchoices: \"{{ x }}\"\nmetrics: [acc, accuracy]\nstand_ins: { u: [x.jsonl] }\n");
        string told = Assert.Throws<OpenElmException>(() => TaskCatalog.Load(Path.Combine(data.Path, "t.yaml"))).Message;
        Assert.Contains("t.yaml:4: metrics has 'accuracy'; there are acc, acc_norm, mc1, mc2, ", told);
        Assert.Contains("t.yaml:5: stand_ins speaks of u, which is no task of this file", told);
    }

    [Fact]
    public void The_real_commonsense_set_fits()
    {
        EvaluationData data = EvaluationFolder.Required();
        string folder = Path.Combine(data.Root, "..", "commonsense", "test");
        Assert.SkipUnless(Directory.Exists(folder), $"{folder} is not here");
        foreach (IEvaluationTask task in TaskCatalog.Get("commonsense").Where(task => task.Name != "commonsense_hellaswag"))
        {
            EvaluationItem[] items = [.. task.Prepare(data, new ItemOptions()).Items];
            Assert.All(items, item => Assert.InRange(item.Choices.Length, 2, 5));
            EvaluationItem[] some = [.. task.Prepare(data, new ItemOptions { Limit = 7 }).Items];
            Assert.Equal(7, some.Length);
            Assert.NotEqual(Enumerable.Range(0, 7), some.Select(item => item.DocumentId)); // shuffled before the limit
        }
    }

    static async Task Write<T>(string path, T row)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        await using FileStream file = File.Create(path);
        await ParquetSerializer.SerializeAsync([row], file);
    }

#pragma warning disable IDE1006 // the columns' own names
    sealed class ArcChoices
    {
        public List<string>? text { get; set; }

        public List<string>? label { get; set; }
    }

    sealed class ArcRow
    {
        public string? question { get; set; }

        public ArcChoices? choices { get; set; }

        public string? answerKey { get; set; }
    }

    sealed class MmluRow
    {
        public string? question { get; set; }

        public List<string>? choices { get; set; }

        public long answer { get; set; }
    }
#pragma warning restore IDE1006
}
