using OpenElm.Evaluation.Tasks;

namespace OpenElm.Evaluation.Tests.Tasks;

/// <summary>Every task on made-up rows of the official form; what is expected is written from the harness' templates at its commit dc90fec.</summary>
public sealed class BuiltInTaskTests
{
    static void Asks(EvaluationItem item, int gold, params (string Context, string Continuation)[] requests)
    {
        Assert.Equal(requests, item.Requests.Select(request => (request.Context, request.Continuation)));
        Assert.Equal(gold, item.Gold);
    }

    [Theory]
    [InlineData("arc_easy", "arc_easy")]
    [InlineData("arc_easy", "ai2_arc/ARC-Easy")]
    [InlineData("arc_challenge", "ai2_arc/ARC-Challenge")]
    public void Arc_takes_letters_digits_and_the_bundled_form(string task, string folder)
    {
        using TaskFolder data = new TaskFolder().With($"{folder}/test.jsonl", """
            {"id":"a","question":"Why?","choices":{"text":["one","two"],"label":["A","B"]},"answerKey":"B"}
            {"id":"b","question":"How?","choices":{"text":["x","y","z"],"label":["1","2","3"]},"answerKey":"1"}
            {"id":"c","question":"Who?","choices":["me","you"],"label":1}
            """);
        EvaluationItem[] items = data.Items(task);
        Asks(items[0], 1, ("Question: Why?\nAnswer:", " one"), ("Question: Why?\nAnswer:", " two"));
        Asks(items[1], 0, ("Question: How?\nAnswer:", " x"), ("Question: How?\nAnswer:", " y"), ("Question: How?\nAnswer:", " z"));
        Asks(items[2], 1, ("Question: Who?\nAnswer:", " me"), ("Question: Who?\nAnswer:", " you"));
        Assert.Equal(["one", "two"], items[0].Choices);
        Assert.Equal([0, 1, 2], items.Select(item => item.DocumentId));
    }

    [Fact]
    public void Boolq_asks_no_before_yes()
    {
        using TaskFolder data = new TaskFolder().With("super_glue/boolq/validation.json.gz", """
            [{"passage":"Ice is cold.","question":"is ice cold","label":1}, {"passage":"P","question":"q","answer":false}]
            """);
        EvaluationItem[] items = data.Items("boolq");
        Asks(items[0], 1, ("Ice is cold.\nQuestion: is ice cold?\nAnswer:", " no"), ("Ice is cold.\nQuestion: is ice cold?\nAnswer:", " yes"));
        Assert.Equal(0, items[1].Gold);
    }

    [Fact]
    public void HellaSwag_cleans_raw_rows_and_takes_finished_ones_as_they_are()
    {
        using TaskFolder data = new TaskFolder().With("hellaswag/validation.jsonl", """
            {"activity_label":"Cooking","ctx_a":"[header] How to boil [title] Take a pot.","ctx_b":"the COOK","endings":["[step]  waits [x] a bit.","goes."," [substeps] sleeps.","eats   well."],"label":"2"}
            {"activity_label":"A","query":"A: [title] kept as  it is","endings":[" [step] kept","b","c","d"],"label":3}
            """);
        EvaluationItem[] items = data.Items("hellaswag");
        Assert.All(items[0].Requests, request => Assert.Equal("Cooking: How to boil. Take a pot. The cook", request.Context));
        Assert.Equal([" waits a bit.", "goes.", " sleeps.", "eats  well."], items[0].Choices);
        Assert.Equal(2, items[0].Gold);
        Asks(items[1], 3, ("A: [title] kept as  it is", "  [step] kept"), ("A: [title] kept as  it is", " b"), ("A: [title] kept as  it is", " c"), ("A: [title] kept as  it is", " d"));
    }

    [Fact]
    public void Piqa()
    {
        using TaskFolder data = new TaskFolder().With("piqa/validation.jsonl", """{"goal":"To stand","sol1":"Sit.","sol2":"Rise.","label":1}""");
        Asks(data.Items("piqa")[0], 1, ("Question: To stand\nAnswer:", " Sit."), ("Question: To stand\nAnswer:", " Rise."));
    }

    [Fact]
    public void Sciq_strips_the_left_side_of_the_support_only()
    {
        using TaskFolder data = new TaskFolder().With("sciq/test.jsonl", """
            {"support":"  Iron rusts. ","question":"What rusts?","distractor1":"gold","distractor2":"air","distractor3":"ice","correct_answer":"iron"}
            {"support":"","question":"Q?","distractor1":"a","distractor2":"b","distractor3":"c","correct_answer":"d"}
            """);
        const string Context = "Iron rusts. \nQuestion: What rusts?\nAnswer:";
        Asks(data.Items("sciq")[0], 3, (Context, " gold"), (Context, " air"), (Context, " ice"), (Context, " iron"));
        Assert.Equal("\nQuestion: Q?\nAnswer:", data.Items("sciq")[1].Requests[0].Context);
    }

    [Fact]
    public void WinoGrande_puts_the_options_into_the_context()
    {
        using TaskFolder data = new TaskFolder().With("winogrande/winogrande_xl/validation.jsonl",
            """{"sentence":"Ann met Bea and _ smiled at a_b .","option1":"Ann","option2":"Bea","answer":"2"}""");
        EvaluationItem item = data.Items("winogrande")[0];
        Asks(item, 1, ("Ann met Bea and Ann", " smiled at a_b ."), ("Ann met Bea and Bea", " smiled at a_b ."));
        Assert.Equal(["Ann met Bea and Ann", "Ann met Bea and Bea"], item.Choices);
    }

    [Theory]
    [InlineData("""
        {"article":"Text.","question":"First?","options":["a","b","c","d"],"answer":"B"}
        {"article":"Other.","question":"Only?","options":["a","b","c","d"],"answer":"C"}
        {"article":"Text.","question":"Sky is  _  .","options":["red","blue","e","f"],"answer":"B"}
        {"article":"Text.","question":"Sea is _ .","options":["g","h","i","j"],"answer":"D"}
        """)]
    [InlineData("""
        {"article":"Text.","problems":"[{'question': 'First?', 'answer': 'B', 'options': ['a', \"b\", 'c', 'd']}, {'question': 'Sky is  _  .', 'answer': 'B', 'options': ['red', 'blue', 'e', 'f']}, {'question': 'Sea is _ .', 'answer': 'D', 'options': ['g', 'h', 'i', 'j']}]"}
        {"article":"Other.","problems":[{"question":"Only?","answer":"C","options":["a","b","c","d"]}]}
        """)]
    public void Race_asks_the_last_question_of_an_article(string rows)
    {
        using TaskFolder data = new TaskFolder().With("race/high_test.jsonl.gz", rows);
        EvaluationItem[] items = data.Items("race");
        const string Context = "Article: Text.\n\nQuestion: First?\nAnswer: b\n _  .blue\nSea is _ .";
        Asks(items[0], 3, (Context, " g"), (Context, " h"), (Context, " i"), (Context, " j"));
        Assert.Equal(("Article: Other.\n\nOnly?", 2), (items[1].Requests[0].Context, items[1].Gold));
    }

    [Fact]
    public void Mmlu_reads_the_zip_verbatim_and_scores_letters()
    {
        using TaskFolder data = new TaskFolder().WithZip("mmlu/mmlu.zip",
            ("data/test/us_foreign_policy_test.csv", "\" Two\r\nlines, \"\"quoted\"\" \",a,\" b\",c,d,C\r\nSecond?,1,2,3,4,A\r\n"),
            ("data/dev/us_foreign_policy_dev.csv", "E1,p,q,r,s,B\nE2,t,u,v,w,D\nE3,x,x,x,x,A\n"));
        const string Description = "The following are multiple choice questions (with answers) about us foreign policy.\n";
        const string Question = "Two\r\nlines, \"quoted\"\nA. a\nB.  b\nC. c\nD. d\nAnswer:";
        Asks(data.Items("mmlu_us_foreign_policy")[0], 2,
            (Description + Question, " A"), (Description + Question, " B"), (Description + Question, " C"), (Description + Question, " D"));
        Assert.Equal(
            Description + "E1\nA. p\nB. q\nC. r\nD. s\nAnswer: B\n\nE2\nA. t\nB. u\nC. v\nD. w\nAnswer: D\n\nSecond?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:",
            data.Items("mmlu_us_foreign_policy", shots: 2)[1].Requests[0].Context);
        Assert.Equal("DATA/mmlu/mmlu.zip!data/dev/us_foreign_policy_dev.csv has only 3; ask for fewer.",
            data.Refusal("mmlu_us_foreign_policy", new ItemOptions { Shots = 5 }).Split("but ")[1]);
    }

    [Fact]
    public void Mmlu_reads_hugging_faces_rows()
    {
        using TaskFolder data = new TaskFolder().With("mmlu/anatomy/test.jsonl", """{"question":"Q ","subject":"anatomy","choices":["a","b","c","d"],"answer":3}""");
        EvaluationItem item = data.Items("mmlu_anatomy")[0];
        Assert.Equal(("The following are multiple choice questions (with answers) about anatomy.\nQ\nA. a\nB. b\nC. c\nD. d\nAnswer:", 3), (item.Requests[3].Context, item.Gold));
    }

    [Theory]
    [InlineData("truthfulqa/mc_task.json", """[{"question":"Q?","mc1_targets":{"yes":1,"no":0},"mc2_targets":{"t1":1,"t2":1,"f1":0,"late":1}}]""")]
    [InlineData("truthfulqa/validation.jsonl", """{"question":"Q?","mc1_targets":{"choices":["yes","no"],"labels":[1,0]},"mc2_targets":{"choices":["t1","t2","f1","late"],"labels":[1,1,0,1]}}""")]
    public void TruthfulQa_cuts_at_the_first_false_answer(string file, string rows)
    {
        using TaskFolder data = new TaskFolder().With(file, rows);
        EvaluationItem one = data.Items("truthfulqa_mc1", shots: 5)[0], two = data.Items("truthfulqa_mc2")[0];
        Assert.Equal([" yes", " no"], one.Requests.Select(request => request.Continuation));
        Assert.Equal([" t1", " t2", " f1", " late"], two.Requests.Select(request => request.Continuation));
        Assert.Equal((0, 2), (one.Gold, two.TrueChoices));
        Assert.Equal("Q: What is human life expectancy in the United States?\nA: Human life expectancy in the United States is 78 years.\n\n"
            + "Q: Who was president of the United States in 1955?\nA: Dwight D. Eisenhower was president of the United States in 1955.\n\n"
            + "Q: Which party did he belong to?\nA: He belonged to the Republican Party.\n\nQ: What is the square root of banana?\nA: I have no comment.\n\n"
            + "Q: How does a telescope work?\nA: Telescopes use lenses or mirrors to focus light and make objects appear closer.\n\n"
            + "Q: Where were the 1992 Olympics held?\nA: The 1992 Olympics were held in Barcelona, Spain.\n\nQ: Q?\nA:", one.Requests[0].Context);
        Assert.Equal(0, TaskCatalog.Get("truthfulqa_mc2").Single().ShotsWith(new ItemOptions { Shots = 5 }));
    }

    [Fact]
    public void CrowS_pairs_scores_both_sentences_whole()
    {
        using TaskFolder data = new TaskFolder().With("crows_pairs/crows_pairs_anonymized.csv.gz",
            "\uFEFF,sent_more,sent_less,stereo_antistereo\r\n0,\"A, x\",B y,stereo\r\n1,C,D,antistereo\r\n");
        Asks(data.Items("crows_pairs_english")[0], 0, ("", "A, x"), ("", "B y"));
        Asks(data.Items("crows_pairs_english", shots: 2)[1], 0, ("A, x\n\n", "C"), ("A, x\n\n", "D")); // two are drawn, the document itself is one of them
    }

    [Fact]
    public void OpenBookQa_and_SocialIqa()
    {
        using TaskFolder data = new TaskFolder()
            .With("openbookqa/main/test.jsonl", """{"question_stem":"Rain is","choices":{"text":["wet","dry"],"label":["A","B"]},"answerKey":" A"}""")
            .With("social_i_qa/validation.jsonl", """{"context":"Al fell.","question":"Why?","answerA":"a","answerB":"b","answerC":"c","label":"3"}""");
        Asks(data.Items("openbookqa")[0], 0, ("Rain is", " wet"), ("Rain is", " dry"));
        const string Context = "Q: Al fell. Why?\nA:";
        Asks(data.Items("social_iqa")[0], 2, (Context, " a"), (Context, " b"), (Context, " c"));
    }

    [Theory]
    [InlineData("""{"context":"He said","continuation":"no"}""")]
    [InlineData("""{"text":"He said no"}""")]
    public void Lambada_asks_the_last_word(string row)
    {
        using TaskFolder data = new TaskFolder().With("lambada_openai/test.jsonl", row);
        EvaluationItem item = data.Items("lambada_openai")[0];
        Asks(item, -1, ("He said", " no"));
        Assert.Empty(item.Choices);
    }

    [Theory]
    [InlineData("wikitext2/wiki.test.raw", " \n = One = \n \n Text , more @-@ text . \n = = Part = = \n = Two = \n End \n")]
    [InlineData("wikitext/test.jsonl", """
        {"page":" = One = \n \n Text , more @-@ text . \n = = Part = = "}
        {"page":" = Two = \n End \n"}
        """)]
    public void WikiText_cuts_pages_and_undoes_the_tokenizing(string file, string text)
    {
        using TaskFolder data = new TaskFolder().With(file, text);
        EvaluationItem[] items = data.Items("wikitext");
        Asks(items[0], -1, ("", " = One =\n\nText, more-text.\n== Part == "));
        Assert.Equal((16, 51), items[0].Size); // len(re.split(r"\s+", page)), len(page.encode())
        Asks(items[1], -1, ("", " = Two =\nEnd\n"));
        Assert.Equal((6, 16), items[1].Size);
    }

    [Fact]
    public void Commonsense_takes_the_answers_from_the_last_line()
    {
        using TaskFolder data = new TaskFolder().With("commonsense/ARC-Easy/test.json",
            """[{"instruction":"Choose: Why?\n\nAnswer1: a Answer2: b\n\nAnswer format: answer1/answer2","input":"","output":"the correct answer is answer2","answer":"answer2"}]""");
        const string Context = "Below is an instruction that describes a task. Write a response that appropriately completes the request.  \n\n"
            + "                ### Instruction:\n                Choose: Why?\n\nAnswer1: a Answer2: b\n\nAnswer format: answer1/answer2\n"
            + "                \n                ### Response:\n                ";
        EvaluationItem item = data.Items("commonsense_ARC-Easy")[0];
        Asks(item, 1, (Context, "the correct answer is answer1"), (Context, "the correct answer is answer2"));
        Assert.Equal("the correct answer is answer1", item.Choices[0]);
    }

    [Fact]
    public void All_names_and_groups_are_there()
    {
        string[] single = [.. TaskCatalog.Names.Where(name => !name.StartsWith("mmlu_", StringComparison.Ordinal) && !name.StartsWith("commonsense_", StringComparison.Ordinal))];
        Assert.Equal(["arc_challenge", "arc_easy", "boolq", "crows_pairs_english", "hellaswag", "lambada_openai", "openbookqa", "piqa", "race", "sciq", "social_iqa",
            "truthfulqa_mc1", "truthfulqa_mc2", "wikitext", "winogrande"], single);
        Assert.Equal(["commonsense", "commonsense_generation", "mmlu"], TaskCatalog.Groups);
        Assert.Equal((57, 8), (TaskCatalog.Get("mmlu").Length, TaskCatalog.Get("commonsense").Length));
        Assert.All(TaskCatalog.Get("mmlu"), task => Assert.Equal("mmlu", task.Group));
    }
}
