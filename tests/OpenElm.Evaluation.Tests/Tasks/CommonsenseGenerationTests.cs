using OpenElm.Evaluation.Data;
using OpenElm.Evaluation.Tasks;
using OpenElm.Evaluation.Tests.Data;

namespace OpenElm.Evaluation.Tests.Tasks;

public sealed class CommonsenseGenerationTests
{
    const string Arc = "Choose: Why?\n\nAnswer1: a Answer2: b Answer3: c\n\nAnswer format: answer1/answer2/answer3";

    // What the original's re.findall over the text between the first two "### Response:" gives; the text here begins behind the first.
    [Theory]
    [InlineData("Is it?\n\nAnswer format: true/false", "the correct answer is true", "true")]
    [InlineData("Is it?\n\nAnswer format: true/false", "It is False, so true.", "true")] // small letters only
    [InlineData("Is it?\n\nAnswer format: true/false", "untrue", "true")] // no borders of words
    [InlineData("Is it?\n\nAnswer format: true/false", "TRUE", null)]
    [InlineData("Is it?\n\nAnswer format: true/false", "the answer is answer1", null)]
    [InlineData("Fill in: _ ran.\nOption1: a Option2: b Answer format: option1/option2", " the correct answer is option2", "option2")]
    [InlineData("Fill in: _ ran.\nOption1: a Option2: b Answer format: option1/option2", "option3, option 1, option12", "option1")]
    [InlineData(Arc, "answer5 or answer1", "answer5")] // not offered, found all the same, wrong
    [InlineData(Arc, "answer6 answer0 answer", null)]
    [InlineData(Arc, "Answer2", null)]
    [InlineData(Arc, "none of these\n### Response:\nanswer2", null)] // a second response does not count
    [InlineData(Arc, "answer3\n\n### Response: answer2", "answer3")]
    [InlineData(Arc, "### Response:answer1", null)]
    [InlineData(Arc, "", null)]
    [InlineData(Arc, "антwort answer\u00302 answer2\uD83D\uDE00", "answer2")]
    [InlineData("Go on\nAnswer format: ending1/ending2/ending3/ending4", "ending5 ending4", "ending4")]
    [InlineData("How?\nAnswer format: solution1/solution2", "solution3 solution1", "solution1")]
    public void Answers_are_found_in_written_text(string instruction, string text, string? answer)
    {
        IEvaluationTask task = TaskCatalog.Get("commonsense_generation_boolq").Single();
        Assert.Equal(answer, new ExpectedAnswer(CommonsenseQuestion.AnswerPattern(instruction), "x").Find(task.Generation!.Counted(text)));
    }

    [Fact]
    public void A_question_has_the_prompt_of_LLM_Adapters_and_the_settings_of_its_search()
    {
        using TaskFolder data = new TaskFolder().With("commonsense/ARC-Easy/test.json",
            """[{"instruction":"Choose: Why?\n\nAnswer1: a Answer2: b\n\nAnswer format: answer1/answer2","input":"","output":"the correct answer is answer2","answer":"answer2"}]""");
        PreparedTask task = TaskCatalog.Get("commonsense_generation_ARC-Easy").Single().Prepare(data.Data, new ItemOptions());
        EvaluationItem item = Assert.Single(task.Items);
        // LLM-Adapters' generate_prompt: one blank behind the first sentence, and an empty line before the response.
        Assert.Equal("Below is an instruction that describes a task. Write a response that appropriately completes the request. \n\n"
            + "                ### Instruction:\n                Choose: Why?\n\nAnswer1: a Answer2: b\n\nAnswer format: answer1/answer2\n\n"
            + "                ### Response:\n                ", Assert.Single(item.Requests).Context);
        Assert.Equal(new ExpectedAnswer("answer[1-5]", "answer2"), item.Expected);
        Assert.Equal((RequestKind.Generation, 4, 32, true), (task.Task.Kind, task.Task.Generation!.Beams, task.Task.Generation.MaxTokens, task.Task.Generation.IgnoreEos));
        Assert.Null(TaskCatalog.Get("commonsense_ARC-Easy").Single().Generation);
    }

    [Fact]
    public void The_real_answers_fit_their_patterns()
    {
        EvaluationData data = EvaluationFolder.Required();
        string folder = Path.Combine(data.Root, "..", "commonsense", "test");
        Assert.SkipUnless(Directory.Exists(folder), $"{folder} is not here");
        foreach (IEvaluationTask task in TaskCatalog.Get("commonsense_generation"))
        {
            // A right answer that the pattern does not find is refused.
            Assert.All(task.Prepare(data, new ItemOptions { AllowStandIns = true }).Items, item => Assert.Equal(item.Expected!.Right, item.Expected.Find($"the correct answer is {item.Expected.Right}")));
        }
    }

    [Theory]
    [InlineData("answer_pattern: \"{{ '[' }}\"\nanswer: x\n", "row 1 gives an answer_pattern that is no regular expression")]
    [InlineData("answer_pattern: yes|no\nanswer: \"{{ q }}\"\n", "row 1 has the answer 'why', which the pattern yes|no does not find")]
    public void Rows_that_have_no_answer_are_refused(string answer, string message)
    {
        using TaskFolder data = new TaskFolder().With("t/test.jsonl", """{"q":"why"}""").With("t.yaml", $"task: t\ntest_split: test\nprompt: \"{{{{ q }}}}\"\nmetrics: [acc]\n{answer}");
        IEvaluationTask task = TaskCatalog.Load(Path.Combine(data.Path, "t.yaml")).Single();
        Assert.Contains(message, Assert.Throws<OpenElmException>(() => task.Prepare(data.Data, new ItemOptions())).Message);
    }

    [Theory]
    [InlineData("answer_pattern: x\n", "answer is missing")]
    [InlineData("answer: x\nchoices: \"{{ [q] }}\"\n", "answer_pattern is missing")]
    [InlineData("answer_pattern: x\nanswer: x\ntarget: \"0\"\n", "answer_pattern stands beside")]
    [InlineData("choices: \"{{ [q] }}\"\ngeneration: { beams: 2 }\n", "generation is for answers that the model writes")]
    [InlineData("answer_pattern: x\nanswer: x\ngeneration: { beams: 0, max_tokens: 0, until: [''] }\n", "beams is 0", "max_tokens is 0", "until holds an empty text")]
    public void A_task_file_of_written_answers_is_checked(string keys, params string[] messages)
    {
        using TaskFolder data = new TaskFolder().With("t.yaml", $"task: t\ntest_split: test\nmetrics: [acc]\n{keys}");
        string told = Assert.Throws<OpenElmException>(() => TaskCatalog.Load(Path.Combine(data.Path, "t.yaml"))).Message;
        Assert.All(messages, message => Assert.Contains(message, told));
    }

    [Fact]
    public void Written_answers_have_acc_alone()
    {
        using TaskFolder data = new TaskFolder().With("t.yaml", "task: t\ntest_split: test\nmetrics: [acc, acc_norm]\nanswer_pattern: x\nanswer: x\n");
        Assert.Contains("t.yaml:3: metrics must be [acc]", Assert.Throws<OpenElmException>(() => TaskCatalog.Load(Path.Combine(data.Path, "t.yaml"))).Message);
    }
}
