using OpenElm.Chat;
using OpenElm.Tokenization;

namespace OpenElm.Data.Tests.Preferences;

/// <summary>Token ids written down from the rules of openelm.md 7.3.</summary>
public sealed class PreferenceTokensTests : IDisposable
{
    // Writes contents alone, a line each, or nothing between them; neither speaks of a system.
    static readonly ChatTemplate Lines = ChatTemplate.Parse("{% for message in messages %}{{ message.content + '\\n' }}{% endfor %}", "lines.jinja");
    static readonly ChatTemplate Bare = ChatTemplate.Parse("{% for message in messages %}{{ message.content }}{% endfor %}", "bare.jinja");

    readonly PreferenceFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    // <|system|>\n</s>\n<|user|>\nHi</s>\n and <|assistant|>\nYes</s>\n: the role belongs to the response, a blank begins what follows </s>, and a second EOS ends it.
    [Fact]
    public void A_pair_has_the_tokens_of_the_reference()
    {
        PreferencePair pair = _folder.Read(["""{"prompt": "Hi", "chosen": "Yes", "rejected": "No"}"""]).Pairs[0];

        int[] role = Ids("<", "|", "ass", "istant", "|", ">", "<0x0A>");
        Assert.Equal(Ids("<s>", "▁<", "|", "system", "|", ">", "<0x0A>", "</s>", "▁", "<0x0A>", "<", "|", "user", "|", ">", "<0x0A>", "Hi", "</s>", "▁", "<0x0A>"), pair.Prompt);
        Assert.Equal([.. role, .. Ids("Yes", "</s>", "▁", "<0x0A>", "</s>")], pair.Chosen);
        Assert.Equal([.. role, .. Ids("No", "</s>", "▁", "<0x0A>", "</s>")], pair.Rejected);
        Assert.EndsWith("r.jsonl row 1", pair.Origin, StringComparison.Ordinal);
    }

    // The same by LLaMA's vocabulary, in numbers: </s>\n is 2, 29871, 13.
    [Fact]
    public void A_pair_has_the_tokens_of_the_reference_with_its_tokenizer()
    {
        Assert.SkipWhen(RepositoryFiles.LlamaTokenizer is null, "LLaMA's tokenizer.model is not open source and not here; set OPENELM_LLAMA_TOKENIZER");
        var llama = SentencePieceTokenizer.Load(RepositoryFiles.LlamaTokenizer!);
        PreferencePair pair = _folder.Read(["""{"prompt": "42", "chosen": "1", "rejected": "0"}"""], tokenizer: llama).Pairs[0];

        Assert.Equal([1, 529, 29989, 5205, 29989, 29958, 13, 2, 29871, 13, 29966, 29989, 1792, 29989, 29958, 13, 29946, 29906, 2, 29871, 13], pair.Prompt);
        Assert.Equal([29966, 29989, 465, 22137, 29989, 29958, 13, 29896, 2, 29871, 13, 2], pair.Chosen);
        Assert.Equal([29966, 29989, 465, 22137, 29989, 29958, 13, 29900, 2, 29871, 13, 2], pair.Rejected);
    }

    // A template that writes no system message by itself gets an empty one, if it speaks of a system and the conversation has none.
    [Theory]
    [InlineData("{# system #}", true)]
    [InlineData("{# <|im_start|> #}", true)]
    [InlineData("", false)]
    public void An_empty_system_message_goes_first_if_the_template_speaks_of_one(string mention, bool inserted)
    {
        var template = ChatTemplate.Parse(mention + "{% for message in messages %}{{ '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' }}{% endfor %}", "t.jinja");
        string[] rows = ["""{"prompt": "Hi", "chosen": "Yes", "rejected": "No"}""", """{"prompt": [{"role": "system", "content": "Hi"}, {"role": "user", "content": "Hi"}], "chosen": "Yes", "rejected": "No"}"""];
        PreferenceSet set = _folder.Read(rows, template: template);

        int[] user = Ids("user", "|", ">", "<0x0A>", "Hi", "</s>", "▁", "<0x0A>");
        Assert.Equal(inserted ? [.. Ids("<s>", "▁<", "|", "system", "|", ">", "<0x0A>", "</s>", "▁", "<0x0A>", "<", "|"), .. user] : [.. Ids("<s>", "▁<", "|"), .. user], set.Pairs[0].Prompt);
        Assert.Equal([.. Ids("<s>", "▁<", "|", "system", "|", ">", "<0x0A>", "Hi", "</s>", "▁", "<0x0A>", "<", "|"), .. user], set.Pairs[1].Prompt);
    }

    [Fact]
    public void A_template_that_writes_BOS_gets_no_second_one()
    {
        var template = ChatTemplate.Parse("{{ bos_token }}{% for message in messages %}{{ message.content + '\\n' }}{% endfor %}", "t.jinja");
        Assert.Equal(Ids("<s>", "▁", "1", "<0x0A>"), _folder.Read([Digits("1", "2", "3")], template: template).Pairs[0].Prompt);
    }

    // "a do" is ▁a ▁do alone, but with a response it may go on to ▁dog or ▁door: that token is the response's (trl's build_tokenized_answer).
    [Fact]
    public void A_token_across_the_border_belongs_to_the_response()
    {
        PreferenceSet set = _folder.Read(
            ["""{"prompt": "a do", "chosen": "g", "rejected": "or"}""", """{"prompt": "a do", "chosen": "g", "rejected": "1"}""", """{"prompt": "a do", "chosen": "2", "rejected": "1"}"""],
            template: Bare);

        Assert.All(set.Pairs[..2], pair => Assert.Equal(Ids("<s>", "▁a"), pair.Prompt));
        Assert.Equal((Text("▁dog", "</s>"), Text("▁door", "</s>")), (Text(set.Pairs[0].Chosen), Text(set.Pairs[0].Rejected)));
        Assert.Equal((Text("▁dog", "</s>"), Text("▁do", "1", "</s>")), (Text(set.Pairs[1].Chosen), Text(set.Pairs[1].Rejected)));
        Assert.Equal((Text("<s>", "▁a", "▁do"), Text("2", "</s>")), (Text(set.Pairs[2].Prompt), Text(set.Pairs[2].Chosen)));
    }

    // ▁a ▁doc um is longer alone than ▁a ▁document. Of ▁in ▁De ce m be, ▁December leaves one token, which the length of its response hides.
    [Theory]
    [InlineData("a docum", "ent", "1", "the prompt has more tokens alone")]
    [InlineData("in Decembe", "r 1234", "1", "change more than the last token")]
    public void Prompts_that_melt_into_their_responses_are_refused(string prompt, string chosen, string rejected, string problem) =>
        Assert.Matches($"r.jsonl row 1 cannot become a pair: .*{problem}", Assert.Throws<OpenElmException>(() => _folder.Read([Digits(prompt, chosen, rejected)], template: Bare)).Message);

    // The prompt "123\n" is BOS ▁ 1 2 3 newline, six tokens; "4567\n" is 4 5 6 7 newline EOS, six; "8\n" three.
    [Theory]
    [InlineData(12, 4, 6, 6, 3, "untouched")]
    [InlineData(11, 6, 6, 5, 3, "a prompt that fits its limit keeps its BOS, but the response must give way")]
    [InlineData(11, 5, 5, 6, 3, "the beginning of the prompt goes")]
    [InlineData(11, 1, 1, 6, 3, "one token of the prompt is left")]
    [InlineData(9, 3, 3, 6, 3, "just enough")]
    [InlineData(8, 3, 3, 5, 3, "not enough: the response loses its end too")]
    [InlineData(5, 3, 3, 2, 2, "both responses are cut")]
    public void Limits_cut_the_beginning_of_prompts_and_then_the_end_of_responses(int maxLength, int maxPrompt, int promptLeft, int chosenLeft, int rejectedLeft, string why)
    {
        PreferenceSet set = _folder.Read([Digits("123", "4567", "8")], PreferenceFolder.Config with { MaxLength = maxLength, MaxPromptLength = maxPrompt }, Lines);
        PreferencePair pair = set.Pairs[0];

        Assert.Equal((Text(Ids("<s>", "▁", "1", "2", "3", "<0x0A>")[^promptLeft..]), why), (Text(pair.Prompt), why));
        Assert.Equal(Ids("4", "5", "6", "7", "<0x0A>", "</s>")[..chosenLeft], pair.Chosen);
        Assert.Equal(Ids("8", "<0x0A>", "</s>")[..rejectedLeft], pair.Rejected);
        Assert.Equal((promptLeft < 6 ? 1 : 0, chosenLeft < 6 ? 1 : 0), (set.Statistics.TruncatedPrompts, set.Statistics.TruncatedResponses));
        Assert.True(pair.Positions < maxLength);
    }

    // The limits of the paper, and one token more. BOS, ▁ and newline are three tokens of the prompt, newline and EOS two of a response.
    [Theory]
    [InlineData(600, 424, 600, 424)]
    [InlineData(600, 425, 512, 425)]
    [InlineData(600, 512, 512, 512)]
    [InlineData(600, 513, 512, 512)]
    [InlineData(512, 513, 512, 512)]
    [InlineData(10, 1014, 10, 1014)]
    [InlineData(10, 1015, 10, 512)]
    public void The_longer_response_decides_at_the_limits_of_the_paper(int prompt, int response, int promptLeft, int responseLeft)
    {
        string[] rows = [Digits(new string('1', prompt - 3), new string('2', response - 2), "3"), Digits(new string('1', prompt - 3), "3", new string('2', response - 2))];
        PreferenceSet set = _folder.Read(rows, template: Lines);

        Assert.Equal([(promptLeft, responseLeft, 3), (promptLeft, 3, responseLeft)], set.Pairs.Select(pair => (pair.Prompt.Length, pair.Chosen.Length, pair.Rejected.Length)));
        Assert.Equal(promptLeft == prompt, set.Pairs[0].Prompt[0] == 1); // BOS goes with the beginning
        Assert.Equal(responseLeft == response, set.Pairs[0].Chosen[^1] == 2); // and EOS with the end
    }

    [Fact]
    public void Texts_of_special_pieces_are_these_pieces() =>
        Assert.Equal(Ids("<s>", "▁", "1", "</s>", "▁", "2", "<0x0A>"), _folder.Read([Digits("1</s>2", "3", "4")], template: Lines).Pairs[0].Prompt);

    [Fact]
    public void A_template_that_hides_the_prompt_is_refused()
    {
        var template = ChatTemplate.Parse("{{ messages[-1].content }}", "last.jinja");
        Assert.Matches(@"r\.jsonl row 1 cannot become a pair: the chat template last\.jinja does not write one message after the other", Assert.Throws<OpenElmException>(() => _folder.Read([Digits("1", "2", "3")], template: template)).Message);
    }

    static int[] Ids(params string[] pieces) => [.. pieces.Select(piece => PreferenceFolder.Tokenizer.IdOf(piece) ?? throw new ArgumentException($"no piece {piece}", nameof(pieces)))];

    static string Text(IEnumerable<int> ids) => string.Join(' ', ids.Select(PreferenceFolder.Tokenizer.PieceOf));

    static string Text(params string[] pieces) => string.Join(' ', pieces);

    static string Digits(string prompt, string chosen, string rejected) => $$"""{"prompt": "{{prompt}}", "chosen": "{{chosen}}", "rejected": "{{rejected}}"}""";
}
