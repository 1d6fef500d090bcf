using System.Collections.Immutable;
using OpenElm.Evaluation.Engine;
using OpenElm.Evaluation.Tasks;
using OpenElm.Tokenization;

namespace OpenElm.Evaluation.Tests.Engine;

public sealed class RequestTokenizerTests
{
    static readonly SentencePieceTokenizer Mistral = SentencePieceTokenizer.Load(Path.Combine(RepositoryFiles.Root, "samples", "tokenizer", "mistral", "tokenizer.model"));

    [Fact]
    public void Context_and_continuation_are_encoded_as_one_text()
    {
        TokenWindow window = Window("Question: why?\nAnswer: ", "because");
        Assert.Equal([1, .. Mistral.Encode("Question: why?\nAnswer:")], window.Context);
        Assert.Equal(Mistral.Encode("because"), window.Continuation);
        Assert.Equal([2], Window("", "because").Context);
        Assert.Equal([1, .. Mistral.Encode("because")], Window("", "because").Continuation);
    }

    [Fact]
    public void The_end_of_a_turn_is_a_token_only_where_the_task_says_so()
    {
        var request = new EvaluationRequest("Why?</s>\n", "Because.</s>");
        TokenWindow Encoded(bool special) => Assert.Single(new RequestTokenizer(Mistral, 100).Encode(request, RequestKind.Continuation, special).Windows);
        Assert.DoesNotContain(2, Encoded(special: false).Context);
        Assert.Equal([1, .. Mistral.Encode("Why?"), 2], Encoded(special: true).Context); // the line feed moves to the continuation
        Assert.Equal(2, Encoded(special: true).Continuation[^1]);
        Assert.Equal([1, .. Mistral.Encode("Why?"), 2], new RequestTokenizer(Mistral, 100).Encode("Why?</s>", new GenerationSettings(), specialPieces: true).Prompt);
    }

    [Fact]
    public void The_last_tokens_stay()
    {
        (TokenWindow whole, TokenWindow cut) = (Window("one two three four five six", " seven eight"), Window("one two three four five six", " seven eight", 5));
        Assert.Equal(8 + 1, whole.Context.Length + whole.Continuation.Length);
        Assert.Equal(whole.Context[^4..], cut.Context); // 5 tokens are fed, the last of the continuation is not
        Assert.Equal(whole.Continuation, cut.Continuation);
        Assert.Equal(5, cut.TokensFed);
        Assert.Equal([true, false], new[] { 7, 8 }.Select(most => // 9 tokens, of which 8 are fed
            new RequestTokenizer(Mistral, most).Encode(new("one two three four five six", " seven eight"), RequestKind.Continuation).IsTruncated));
        Assert.Equal(whole.Context[^1..], Window("one two three four five six", " seven eight", 2).Context);
        Assert.Contains("has 2 tokens; the model takes 1", Assert.Throws<OpenElmException>(() => Window("one", " seven eight", 1)).Message);
    }

    [Theory]
    [InlineData("Answer:", "")]
    [InlineData("", "x", false)]
    public void A_continuation_without_tokens_is_an_error(string context, string continuation, bool fails = true)
    {
        if (fails)
        {
            Assert.Contains("must not be empty", Assert.Throws<OpenElmException>(() => Window(context, continuation)).Message);
        }
        else
        {
            Assert.NotEmpty(Window(context, continuation).Continuation);
        }
    }

    [Fact]
    public void A_context_is_kept_once()
    {
        var tokenizer = new RequestTokenizer(Mistral, 100);
        ImmutableArray<int> first = tokenizer.Encode(new("Pick one.", " A"), RequestKind.Continuation).Windows[0].Context;
        Assert.True(first == tokenizer.Encode(new("Pick one.", " B"), RequestKind.Continuation).Windows[0].Context); // the same array
    }

    [Fact]
    public void Whole_texts_begin_with_EOS_and_score_BOS()
    {
        TokenWindow window = Assert.Single(new RequestTokenizer(Mistral, 100).Encode(new("", "A short text."), RequestKind.WholeText).Windows);
        Assert.Equal([2], window.Context);
        Assert.Equal([1, .. Mistral.Encode("A short text.")], window.Continuation);
        Assert.Throws<ArgumentException>(() => new RequestTokenizer(Mistral, 100).Encode(new("", "x"), RequestKind.Generation));
    }

    // Computed with lm-evaluation-harness' make_disjoint_window(get_rolling_token_windows(range(n), 100, length, 1)) at commit dc90fec.
    [Theory]
    [InlineData(3, 4, "100 > 0 1 2")]
    [InlineData(4, 4, "100 > 0 1 2 3")]
    [InlineData(5, 4, "100 > 0 1 2 3; 0 1 2 3 > 4")]
    [InlineData(10, 4, "100 > 0 1 2 3; 3 > 4 5 6 7; 5 6 7 > 8 9")]
    [InlineData(12, 4, "100 > 0 1 2 3; 3 > 4 5 6 7; 7 > 8 9 10 11")]
    [InlineData(3, 1, "100 > 0; 0 > 1; 1 > 2")]
    public void Windows_are_those_of_the_harness(int tokens, int length, string expected) => Assert.Equal(
        expected,
        string.Join("; ", RollingWindows.Of([.. Enumerable.Range(0, tokens)], 100, length).Select(window => $"{string.Join(' ', window.Context)} > {string.Join(' ', window.Continuation)}")));

    static TokenWindow Window(string context, string continuation, int length = 2048) =>
        new RequestTokenizer(Mistral, length).Encode(new(context, continuation), RequestKind.Continuation).Windows.Single();
}
