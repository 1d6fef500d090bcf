using System.Text.Json;
using OpenElm.Chat;
using OpenElm.Tokenization;

namespace OpenElm.Data.Tests.Examples;

public sealed class ExampleReaderTests : IDisposable
{
    static readonly SentencePieceTokenizer Tokenizer = SentencePieceTokenizer.Load(Path.Combine(RepositoryFiles.Root, "samples/tokenizer/mistral/tokenizer.model"));

    readonly CorpusFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    // openelm.md 8.3, written out by hand: ␠ is a blank, a line break is one.
    [Fact]
    public void An_instruction_without_input_is_written_as_in_the_reference()
    {
        const string Expected = """
            Below is an instruction that describes a task. Write a response that appropriately completes the request.␠␠

            ␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠### Instruction:
            ␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠Is water wet?
            ␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠
            ␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠### Response:
            ␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠the correct answer is true
            """;
        TokenizedExample example = Read(["""{"instruction": "Is water wet?", "input": "", "output": "the correct answer is true", "answer": "true"}"""]).Examples[0];

        Assert.Equal(Tokenizer.Encode(Expected.Replace('␠', ' '), new TokenizerOptions { AddBos = true, AddEos = true }), example.Ids);
        Assert.All(example.InLoss, Assert.True); // the whole text, as in the reference
    }

    [Fact]
    public void An_instruction_with_input_is_written_as_in_the_reference()
    {
        const string Expected = """
            Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.␠

            ␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠### Instruction:
            ␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠Add them.
            ␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠
            ␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠### Input:
            ␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠2 and 3
            ␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠
            ␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠### Response:
            ␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠␠5
            """;
        Assert.Equal(Expected.Replace('␠', ' '), new InstructionRecord("Add them.", "2 and 3", "5") is var record ? record.Prompt + record.Output : "");
    }

    [Fact]
    public void An_answer_stands_in_for_a_missing_output()
    {
        string[] rows = ["""{"instruction": "Which?", "answer": "answer2"}""", """{"instruction": "Which?", "input": "", "output": "the correct answer is answer2"}"""];
        Assert.Equal(Read([rows[1]]).Examples[0].Ids, Read([rows[0]]).Examples[0].Ids);
    }

    [Fact]
    public void The_loss_on_responses_sees_the_answer_and_the_end_of_the_sequence()
    {
        var config = new ExampleConfig { Files = ["r.jsonl"], LossOn = LossScope.Responses };
        TokenizedExample example = Read(["""{"instruction": "Sing.", "output": "la la"}"""], config).Examples[0];

        Assert.Equal("la la", Tokenizer.Decode(InLoss(example)).TrimStart());
        Assert.Equal(Tokenizer.EosId, InLoss(example)[^1]);
    }

    // openelm.md 7.3: </s> in the text is the token, and what follows it begins with a blank of its own: 2, ▁, newline.
    [Fact]
    public void A_chat_template_recognises_special_pieces()
    {
        var config = new ExampleConfig { Files = ["r.jsonl"], Records = RecordKind.Messages };
        TokenizedExample example = Read([Messages(("user", "Hi"), ("assistant", "Hello"))], config, ChatTemplate.Zephyr).Examples[0];

        int blank = Tokenizer.IdOf("▁")!.Value, newline = Tokenizer.IdOf("<0x0A>")!.Value;
        Assert.Equal(1, example.Ids[0]);
        Assert.Equal(3, example.Ids.Count(id => id == 2));
        Assert.Equal([2, blank, newline], example.Ids[^3..]);
        Assert.Equal("<|system|>\n\n<|user|>\nHi\n<|assistant|>\nHello\n", Tokenizer.Decode(example.Ids.AsSpan()).Replace(" \n", "\n", StringComparison.Ordinal).Replace(" <", "<", StringComparison.Ordinal));
    }

    [Fact]
    public void The_loss_on_responses_sees_every_answer_of_a_conversation_and_nothing_else()
    {
        var config = new ExampleConfig { Files = ["r.jsonl"], Records = RecordKind.Messages, LossOn = LossScope.Responses };
        TokenizedExample example = Read([Messages(("user", "One?"), ("assistant", "Yes."), ("user", "Two?"), ("assistant", "No."))], config, ChatTemplate.Zephyr).Examples[0];

        string seen = Tokenizer.Decode(InLoss(example)), hidden = Tokenizer.Decode([.. example.Ids.Where((_, i) => !example.InLoss[i])]);
        Assert.Equal("Yes.No.", string.Concat(seen.Where(c => !char.IsWhiteSpace(c))));
        Assert.Equal(2, InLoss(example).Count(id => id == Tokenizer.EosId));
        Assert.Equal(["One?", "Two?"], hidden.Split('\n').Where(line => line.Contains('?', StringComparison.Ordinal)).Select(line => line.Trim()));
    }

    [Fact]
    public void Clean_up_moves_the_border_of_a_response_with_its_text()
    {
        var config = new ExampleConfig { Files = ["r.jsonl"], LossOn = LossScope.Responses };
        TokenizedExample example = Read(["""{"instruction": "A &amp; B &amp; C?", "output": "It\u2019s B."}"""], config).Examples[0];
        Assert.Equal("It's B.", Tokenizer.Decode(InLoss(example)).TrimStart());
    }

    [Fact]
    public void A_template_that_hides_earlier_answers_is_refused_for_the_loss_on_responses_only()
    {
        var template = ChatTemplate.Parse("{{ messages[-1].content }}{{ eos_token }}", "last.jinja");
        string row = Messages(("user", "One?"), ("assistant", "Yes."), ("user", "Two?"), ("assistant", "No."));
        var config = new ExampleConfig { Files = ["r.jsonl"], Records = RecordKind.Messages };
        Assert.NotEmpty(Read([row], config, template).Examples);
        string message = Assert.Throws<OpenElmException>(() => Read([row], config with { LossOn = LossScope.Responses }, template)).Message;
        Assert.Matches(@"r\.jsonl row 1 cannot become text: the chat template last\.jinja .*loss_on", message);
    }

    [Theory]
    [InlineData("""{"instruction": "Why?"}""", "row 2 has no column 'output'")]
    [InlineData("""{"output": "So."}""", "row 2 has no column 'instruction'")]
    [InlineData("""{"instruction": "Why?", "output": "  "}""", "row 2 has an empty 'output'")]
    [InlineData("""{"instruction": "Why?", "output": ["a"]}""", "row 2 holds a list in column 'output'")]
    [InlineData("""{"instruction": "Why?", "input": 3, "output": "b"}""", "row 2 holds a number in column 'input'")]
    public void A_record_that_lacks_something_is_named_or_counted(string bad, string problem)
    {
        string[] rows = ["""{"instruction": "Why?", "output": "So."}""", bad];
        string message = Assert.Throws<OpenElmException>(() => Read(rows)).Message;
        Assert.Contains("r.jsonl " + problem, message, StringComparison.Ordinal);
        Assert.Equal((1, new ExampleStatistics(2, 1, 0, 0)), Read(rows, new ExampleConfig { Files = ["r.jsonl"], OnBadRecord = BadRecordPolicy.Skip }) is var set ? (set.Examples.Length, set.Statistics) : default);
    }

    [Fact]
    public void A_conversation_without_an_answer_is_named()
    {
        var config = new ExampleConfig { Files = ["r.jsonl"], Records = RecordKind.Messages };
        string Problem(string row) => Assert.Throws<OpenElmException>(() => Read([row], config, ChatTemplate.Zephyr)).Message;
        Assert.Contains("row 1 has no message of the assistant", Problem(Messages(("user", "Hi"))), StringComparison.Ordinal);
        Assert.Contains("row 1 has an empty response", Problem(Messages(("user", "Hi"), ("assistant", ""))), StringComparison.Ordinal);
        Assert.Contains("in message 1 of 'messages'", Problem("""{"messages": [{"role": "user"}]}"""), StringComparison.Ordinal);
    }

    [Fact]
    public void Long_examples_stop_the_run_or_are_cut_or_left_out_as_the_configuration_says()
    {
        string[] rows = ["""{"instruction": "a", "output": "b"}""", $$"""{"instruction": "a", "output": "{{string.Concat(Enumerable.Repeat("word ", 300))}}"}"""];
        var config = new ExampleConfig { Files = ["r.jsonl"] };
        Assert.Matches(@"r\.jsonl row 2 has \d+ tokens, and a sequence holds 201", Assert.Throws<OpenElmException>(() => Read(rows, config, length: 200)).Message);

        ExampleSet cut = Read(rows, config with { OnTooLong = LongExamplePolicy.Truncate }, length: 200), skipped = Read(rows, config with { OnTooLong = LongExamplePolicy.Skip }, length: 200);
        Assert.Equal((200, new ExampleStatistics(2, 0, 0, 1)), (cut.Examples[1].Positions, cut.Statistics));
        Assert.Equal((1, new ExampleStatistics(2, 0, 1, 0)), (skipped.Examples.Length, skipped.Statistics));

        // Cut before the response begins, nothing would be learnt.
        string long2 = $$"""{"instruction": "{{string.Concat(Enumerable.Repeat("word ", 300))}}", "output": "b"}""";
        Assert.Contains("nothing to learn", Assert.Throws<OpenElmException>(() => Read([long2], config with { OnTooLong = LongExamplePolicy.Truncate, LossOn = LossScope.Responses }, length: 200)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("r.jsonl.gz")]
    [InlineData("r.json")]
    public void Other_files_give_the_same_examples(string name)
    {
        string[] rows = ["""{"instruction": "a", "output": "b"}""", """{"instruction": "c", "output": "d"}"""];
        ExampleSet expected = Read(rows);
        _folder.WriteBytes(name, System.Text.Encoding.UTF8.GetBytes(name.EndsWith(".json", StringComparison.Ordinal) ? $"[{string.Join(",", rows)}]" : string.Join("\n", rows)));
        Assert.Equal(expected.Fingerprint(), ExampleSet.Read(new ExampleConfig { Files = [name] }, _folder.Root, Tokenizer, template: null, 2048, TestContext.Current.CancellationToken).Fingerprint());
    }

    [Fact]
    public void The_fingerprint_sees_tokens_and_what_the_loss_looks_at()
    {
        string[] rows = ["""{"instruction": "a", "output": "b"}"""];
        string plain = Read(rows).Fingerprint();
        Assert.NotEqual(plain, Read(["""{"instruction": "a", "output": "c"}"""]).Fingerprint());
        Assert.NotEqual(plain, Read(rows, new ExampleConfig { Files = ["r.jsonl"], LossOn = LossScope.Responses }).Fingerprint());
    }

    ExampleSet Read(string[] rows, ExampleConfig? config = null, ChatTemplate? template = null, int length = 2048)
    {
        _folder.WriteBytes("r.jsonl", System.Text.Encoding.UTF8.GetBytes(string.Join("\n", rows)));
        return ExampleSet.Read(config ?? new ExampleConfig { Files = ["r.jsonl"] }, _folder.Root, Tokenizer, template, length);
    }

    static int[] InLoss(TokenizedExample example) => [.. example.Ids.Where((_, i) => example.InLoss[i])];

    static string Messages(params (string Role, string Content)[] messages) =>
        JsonSerializer.Serialize(new { messages = messages.Select(message => new { role = message.Role, content = message.Content }) });
}
