using OpenElm.Tokenization;

namespace OpenElm.Tests.Tokenization;

public sealed class TokenizerOptionsTests
{
    [Fact]
    public void Special_pieces_are_ids_and_what_follows_has_its_own_leading_blank() =>
        Assert.Equal([2, 29871, 13], TestTokenizers.Llama.Encode("</s>\n", new() { RecognizeSpecialPieces = true }));

    [Fact]
    public void Special_pieces_are_ordinary_characters_by_default()
    {
        SentencePieceTokenizer tokenizer = TestTokenizers.Mistral;
        int[] ids = tokenizer.Encode("a</s>b<s>");
        Assert.DoesNotContain(tokenizer.EosId, ids);
        Assert.DoesNotContain(tokenizer.BosId, ids);
        Assert.Equal(
            [.. tokenizer.Encode("a"), 2, .. tokenizer.Encode("b"), 1],
            tokenizer.Encode("a</s>b<s>", new() { RecognizeSpecialPieces = true }));
    }

    [Fact]
    public void Bos_and_eos_stand_around_even_an_empty_text()
    {
        var options = new TokenizerOptions { AddBos = true, AddEos = true };
        Assert.Equal([1, 2], TestTokenizers.Mistral.Encode("", options));
        Assert.Equal([1, .. TestTokenizers.Mistral.Encode("Hello"), 2], TestTokenizers.Mistral.Encode("Hello", options));
        Assert.Equal([(1, 0, 0), (2, 0, 0)],
            TestTokenizers.Mistral.EncodeWithOffsets("", options).Select(piece => (piece.Id, piece.Offset, piece.Length)));
    }

    [Fact]
    public void The_padding_id_is_the_piece_count_where_the_model_has_none()
    {
        Assert.Equal(32000, TestTokenizers.Mistral.PieceCount);
        Assert.Equal(32000, TestTokenizers.Mistral.PadId);
        Assert.Equal(0, TestTokenizers.Mistral.UnknownId);
        Assert.Equal(1, TestTokenizers.Mistral.BosId);
        Assert.Equal(2, TestTokenizers.Mistral.EosId);
        Assert.Equal("", TestTokenizers.Mistral.Decode([32000, 1, 2]));
    }

    [Fact]
    public void Encoding_appends()
    {
        var ids = new List<int> { 7 };
        TestTokenizers.Mistral.Encode("Hello", ids);
        TestTokenizers.Mistral.Encode("", ids);
        Assert.Equal([7, .. TestTokenizers.Mistral.Encode("Hello")], ids);
    }

    [Fact]
    public void Offsets_cover_the_text_without_gaps()
    {
        const string Text = " naïve 😀 </s>\n日本語🤖x";
        foreach (bool special in new[] { false, true })
        {
            int end = 0;
            foreach (EncodedPiece piece in TestTokenizers.Mistral.EncodeWithOffsets(Text, new() { RecognizeSpecialPieces = special }))
            {
                Assert.Equal(end, piece.Offset);
                end = piece.Offset + piece.Length;
            }
            Assert.Equal(Text.Length, end);
        }
    }
}
