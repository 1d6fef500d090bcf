using OpenElm.Chat;
using Parquet.Serialization;

namespace OpenElm.Data.Tests.Preferences;

/// <summary>The layouts of records, and what is wrong with some.</summary>
public sealed class PreferenceLayoutTests : IDisposable
{
    const string Plain = """{"prompt": "Hi", "chosen": "Yes", "rejected": "No"}""";

    static readonly string Talk = """[{"role": "user", "content": "One?"}, {"role": "assistant", "content": "1."}, {"role": "user", "content": "Two?"}""";

    readonly PreferenceFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    // The tokens of the plain record are written out in PreferenceTokensTests.
    [Theory]
    [InlineData("""{"prompt": "not looked at", "chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}], "rejected": [{"content": "Hi", "role": "user"}, {"content": "No", "role": "assistant"}]}""", PreferenceLayout.Messages)]
    [InlineData("""{"chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}], "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "No"}]}""", PreferenceLayout.Messages)]
    [InlineData("""{"prompt": [{"role": "user", "content": "Hi"}], "chosen": [{"role": "assistant", "content": "Yes"}], "rejected": [{"role": "assistant", "content": "No"}]}""", PreferenceLayout.Messages)]
    [InlineData("""{"prompt": [{"role": "user", "content": "Hi"}], "chosen": "Yes", "rejected": "No"}""", PreferenceLayout.Messages)]
    [InlineData("""{"instruction": "Hi", "input": "", "output": "Yep", "rejected": "No", "chosen": "Yes"}""", PreferenceLayout.Instruction)]
    [InlineData("""{"chosen": "Yes", "rejected": "No", "instruction": "Hi"}""", PreferenceLayout.Instruction)]
    [InlineData("""{"chosen": "\n\nHuman: Hi\n\nAssistant: Yes", "rejected": "\n\nHuman: Hi\n\nAssistant: No"}""", PreferenceLayout.Dialogue)]
    public void Every_layout_gives_the_same_pair(string row, PreferenceLayout layout)
    {
        string expected = _folder.Read([Plain]).Fingerprint();
        Assert.Equal(expected, _folder.Read([row]).Fingerprint());
        Assert.Equal(expected, _folder.Read([row], PreferenceFolder.Config with { Layout = layout }).Fingerprint());
    }

    [Fact]
    public void Conversations_keep_all_their_messages()
    {
        string messages = $$"""{"chosen": {{Talk}}, {"role": "assistant", "content": "2."}], "rejected": {{Talk}}, {"role": "assistant", "content": "3."}]}""";
        string dialogue = """{"chosen": "\n\nHuman: One?\n\nAssistant: 1.\n\nHuman: Two?\n\nAssistant: 2.", "rejected": "\n\nHuman: One?\n\nAssistant: 1.\n\nHuman: Two?\n\nAssistant: 3."}""";
        PreferenceSet set = _folder.Read([messages]);

        Assert.Equal("<|system|> <|user|> One? <|assistant|> 1. <|user|> Two?", TextOf(set.Pairs[0].Prompt));
        Assert.Equal("<|assistant|> 2.", TextOf(set.Pairs[0].Chosen));
        Assert.Equal(set.Fingerprint(), _folder.Read([dialogue]).Fingerprint());
    }

    [Fact]
    public void An_input_follows_its_instruction() =>
        Assert.Equal("<|system|> <|user|> Add. 2, 3", TextOf(_folder.Read(["""{"instruction": "Add.", "input": "2, 3", "chosen": "5", "rejected": "Five!"}"""]).Pairs[0].Prompt));

    [Theory]
    [InlineData("r.jsonl.gz")]
    [InlineData("r.json")]
    public void Other_files_give_the_same_pairs(string name)
    {
        string[] rows = [Plain, """{"prompt": "1", "chosen": "2", "rejected": "3"}"""];
        string expected = _folder.Read(rows).Fingerprint();
        _folder.Write(name, name.EndsWith(".json", StringComparison.Ordinal) ? [$"[{string.Join(",", rows)}]"] : rows);
        Assert.Equal(expected, Read(name).Fingerprint());
    }

    [Fact]
    public async Task Parquet_files_hold_lists_of_messages()
    {
        var row = new MessageRow { prompt = "not looked at", chosen = [Said("user", "Hi"), Said("assistant", "Yes")], rejected = [Said("user", "Hi"), Said("assistant", "No")] };
        await using (FileStream file = File.Create(Path.Combine(_folder.Root, "r.parquet")))
        {
            await ParquetSerializer.SerializeAsync([row], file, cancellationToken: TestContext.Current.CancellationToken);
        }

        Assert.Equal(_folder.Read([Plain]).Fingerprint(), Read("r.parquet").Fingerprint());
    }

    [Theory]
    [InlineData("""{"prompt": "Hi", "chosen": "Yes"}""", "has no column 'rejected'")]
    [InlineData("""{"prompt": "Hi", "rejected": "No"}""", "has no column 'chosen'")]
    [InlineData("""{"prompt": "Hi", "chosen": "Yes", "rejected": " \n"}""", "has an empty 'rejected'")]
    [InlineData("""{"prompt": "", "chosen": "Yes", "rejected": "No"}""", "has an empty 'prompt'")]
    [InlineData("""{"prompt": "Hi", "chosen": "Yes", "rejected": ["No"]}""", "holds a list in column 'rejected'")]
    [InlineData("""{"prompt": "Hi", "chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}], "rejected": "No"}""", "holds text in column 'rejected'")]
    [InlineData("""{"prompt": "Hi", "chosen": 7, "rejected": "No"}""", "holds a number in column 'chosen'")]
    [InlineData("""{"prompt": "Hi", "chosen": ["Hi", "Yes"], "rejected": ["Hi", "No"]}""", "texts 'role' and 'content' in message 1 of 'chosen'")]
    [InlineData("""{"prompt": "Hi", "chosen": [{"role": "assistant", "content": "Yes"}], "rejected": [{"role": "assistant", "content": "No"}]}""", "no prompt before it in 'chosen'")]
    [InlineData("""{"prompt": [], "chosen": "Yes", "rejected": "No"}""", "has no message in 'prompt'")]
    [InlineData("""{"chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": ""}], "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "No"}]}""", "has an empty response in 'chosen'")]
    [InlineData("""{"chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}], "rejected": [{"role": "assistant", "content": "No"}, {"role": "user", "content": "Hi"}]}""", "does not end with a message of the assistant in 'rejected'")]
    [InlineData("""{"chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}], "rejected": [{"role": "user", "content": "Ho"}, {"role": "assistant", "content": "No"}]}""", "has different messages before the responses")]
    [InlineData("""{"prompt": [{"role": "user", "content": "Hi"}], "chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}], "rejected": "No"}""", "begins 'chosen' with another message than the assistant's")]
    [InlineData("""{"instruction": " ", "chosen": "Yes", "rejected": "No"}""", "has an empty 'instruction'")]
    [InlineData("""{"instruction": "Hi", "chosen": "Yes"}""", "has no column 'rejected'")]
    [InlineData("""{"instruction": "Hi", "input": 3, "chosen": "Yes", "rejected": "No"}""", "holds a number in column 'input'")]
    [InlineData("""{"chosen": "\n\nHuman: Hi\n\nAssistant: Yes", "rejected": "\n\nHuman: Ho\n\nAssistant: No"}""", "has different dialogues before the last response")]
    [InlineData("""{"chosen": "\n\nHuman: Hi\n\nAssistant: Yes", "rejected": "\n\nHuman: Hi\n\nAssistant: "}""", "has an empty response in 'rejected'")]
    [InlineData("""{"chosen": "\n\nHuman: Hi\n\nAssistant: Yes", "rejected": "\n\nHuman: Hi\n\nAssistant: No\n\nHuman: What?"}""", "holds no dialogue in 'rejected'")]
    [InlineData("""{"chosen": "\n\nHuman: Hi\n\nAssistant: Yes", "rejected": "No"}""", "holds no dialogue in 'rejected'")]
    [InlineData("""{"question": "Hi", "chosen": "Yes", "rejected": "No"}""", "fits no known layout of pairs; its columns are question, chosen, rejected")]
    public void A_record_that_lacks_something_is_named_or_counted(string bad, string problem)
    {
        string message = Assert.Throws<OpenElmException>(() => _folder.Read([Plain, bad])).Message;
        Assert.Contains("r.jsonl row 2 ", message, StringComparison.Ordinal);
        Assert.Contains(problem, message, StringComparison.Ordinal);

        PreferenceSet set = _folder.Read([Plain, bad], PreferenceFolder.Config with { OnBadRecord = BadRecordPolicy.Skip });
        Assert.Equal((1, new PreferenceStatistics(2, 1, 0, 0, 0, 0)), (set.Pairs.Length, set.Statistics));
    }

    [Fact]
    public void Records_must_fit_the_layout_that_is_asked_for()
    {
        string Problem(PreferenceLayout layout) => Assert.Throws<OpenElmException>(() => _folder.Read([Plain], PreferenceFolder.Config with { Layout = layout })).Message;
        Assert.Contains("row 1 has no column 'instruction'", Problem(PreferenceLayout.Instruction), StringComparison.Ordinal);
        Assert.Contains("row 1 holds no dialogue in 'chosen'", Problem(PreferenceLayout.Dialogue), StringComparison.Ordinal);
    }

    [Fact]
    public void Equal_responses_stop_the_run_or_are_counted_even_where_bad_records_are_skipped()
    {
        string[] rows = [Plain, """{"prompt": "Hi", "chosen": "No", "rejected": "No"}"""];
        PreferenceConfig config = PreferenceFolder.Config with { OnBadRecord = BadRecordPolicy.Skip };
        Assert.Contains("r.jsonl row 2 has equal responses", Assert.Throws<OpenElmException>(() => _folder.Read(rows, config)).Message, StringComparison.Ordinal);

        PreferenceSet set = _folder.Read(rows, config with { OnEqualPair = EqualPairPolicy.Skip });
        Assert.Equal((1, new PreferenceStatistics(2, 0, 1, 0, 0, 0)), (set.Pairs.Length, set.Statistics));
    }

    // <|assistant|>\n is seven tokens, so eight of a response end before the two differ.
    [Fact]
    public void Responses_that_differ_only_where_they_are_cut_are_equal()
    {
        string[] rows = ["""{"prompt": "1", "chosen": "123", "rejected": "124"}"""];
        PreferenceConfig config = PreferenceFolder.Config with { MaxLength = 12, MaxPromptLength = 4 };
        Assert.Contains("row 1 has responses in 'chosen' and 'rejected' that are equal as far as they are kept", Assert.Throws<OpenElmException>(() => _folder.Read(rows, config)).Message, StringComparison.Ordinal);
        Assert.Equal(1, _folder.Read(rows, config with { MaxLength = 14 }).Statistics.TruncatedResponses);
    }

    [Fact]
    public void Nothing_left_is_an_error_that_counts()
    {
        string[] rows = ["""{"prompt": "Hi", "chosen": "No", "rejected": "No"}""", """{"prompt": "Hi"}"""];
        string message = Assert.Throws<OpenElmException>(() => _folder.Read(rows, PreferenceFolder.Config with { OnBadRecord = BadRecordPolicy.Skip, OnEqualPair = EqualPairPolicy.Skip })).Message;
        Assert.Contains("No pair is left of the 2 records of r.jsonl: 1 are bad, 1 have equal responses, 0 are contaminated.", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Records_are_taken_from_the_beginning()
    {
        PreferenceSet set = _folder.Read([Plain, "{}"], PreferenceFolder.Config with { MaxRecords = 1 });
        Assert.Equal((1, 1), (set.Pairs.Length, set.Statistics.Records));
    }

    [Fact]
    public void The_fingerprint_sees_tokens_and_the_ends_of_prompts()
    {
        var pair = new PreferencePair([1, 2], [3], [4], "a row 1");
        string Print(PreferencePair changed) => new PreferenceSet([changed], new PreferenceStatistics(1, 0, 0, 0, 0, 0)).Fingerprint();
        Assert.Equal(Print(pair), Print(pair with { Origin = "b row 2" }));
        Assert.Distinct([Print(pair), Print(pair with { Chosen = [4], Rejected = [3] }), Print(pair with { Prompt = [1], Chosen = [2, 3] }), Print(pair with { Chosen = [5] })]);
    }

    [Fact]
    public void The_configuration_is_checked()
    {
        static List<string> Problems(PreferenceConfig config)
        {
            List<string> problems = [];
            config.Validate("data", problems);
            return problems;
        }

        PreferenceConfig good = PreferenceFolder.Config;
        Assert.Empty(Problems(good));
        Assert.Equal("chat", good.TemplateName);
        void Refused(PreferenceConfig config, string problem) => Assert.Contains(problem, Assert.Single(Problems(config)), StringComparison.Ordinal);
        Refused(good with { Files = [] }, "data.files is empty");
        Refused(good with { Files = ["a.zip"] }, "data.files names 'a.zip'");
        Refused(good with { ContaminationFiles = ["a.zip"] }, "data.contamination_files names 'a.zip'");
        Refused(good with { Template = "instruction" }, "data.template is instruction");
        Refused(good with { MaxLength = 512 }, "data.max_prompt_length is 512");
        Refused(good with { MaxPromptLength = 0 }, "data.max_prompt_length is 0");
        Refused(good with { MaxRecords = -1 }, "data.max_records is -1");
        Refused(good with { Epochs = -1 }, "data.epochs is -1");
        Refused(good with { Batching = ExampleBatching.Packing }, "data.batching is packing");
    }

    PreferenceSet Read(string name) =>
        PreferenceSet.Read(PreferenceFolder.Config with { Files = [name] }, _folder.Root, PreferenceFolder.Tokenizer, ChatTemplate.Zephyr, TestContext.Current.CancellationToken);

    // Blanks and line breaks as one blank: what each segment begins with is written out elsewhere.
    static string TextOf(IEnumerable<int> ids) => string.Join(' ', PreferenceFolder.Tokenizer.Decode([.. ids]).Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));

    static MessageOfRow Said(string role, string content) => new() { role = role, content = content };

#pragma warning disable IDE1006 // the columns' own names
    sealed class MessageRow
    {
        public string? prompt { get; set; }

        public List<MessageOfRow>? chosen { get; set; }

        public List<MessageOfRow>? rejected { get; set; }
    }

    sealed class MessageOfRow
    {
        public string? content { get; set; }

        public string? role { get; set; }
    }
#pragma warning restore IDE1006
}
