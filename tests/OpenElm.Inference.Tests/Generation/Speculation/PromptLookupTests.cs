using OpenElm.Inference.Generation.Speculation;

namespace OpenElm.Inference.Tests.Generation.Speculation;

public sealed class PromptLookupTests
{
    [Theory]
    [InlineData("5 6 7 8 5 6", 10, "7 8 5 6")] // what followed the last two, as far as there is text
    [InlineData("5 6 7 8 5 6", 2, "7 8")]
    [InlineData("5 6 7 5 6 8 5 6", 3, "7 5 6")] // the first occurrence from the left
    [InlineData("4 6 7 8 5 6", 10, "7 8 5 6")] // only the last one occurred
    [InlineData("6 9 5 6 7 5 6", 1, "7")] // two before one
    [InlineData("5 6 7 8", 10, "")]
    [InlineData("5", 10, "")]
    [InlineData("5 5", 10, "5")]
    [InlineData("5 5 5", 10, "5")] // the first pair is followed by one token
    [InlineData("5 6 7 2 9 5 6", 10, "7")] // cut before the end of a sequence
    [InlineData("5 6 2 9 5 6", 10, "")]
    public void What_followed_before_is_proposed(string tokens, int count, string expected)
    {
        int[] ids = Ids(tokens), sequence = [.. ids, .. new int[10]];
        int found = new PromptLookup(eos: 2).Propose(sequence, ids.Length, count);
        Assert.Equal(Ids(expected), sequence[ids.Length..(ids.Length + found)]);
    }

    static int[] Ids(string text) => [.. text.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(int.Parse)];
}
