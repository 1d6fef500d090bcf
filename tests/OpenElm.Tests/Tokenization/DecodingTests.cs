using OpenElm.Tokenization;

namespace OpenElm.Tests.Tokenization;

public sealed class DecodingTests
{
    static int Byte(int value) => 3 + value;

    [Fact]
    public void The_leading_blank_is_dropped_once()
    {
        SentencePieceTokenizer tokenizer = TestTokenizers.Mistral;
        int blank = tokenizer.IdOf("▁")!.Value, hello = tokenizer.IdOf("▁Hello")!.Value;
        Assert.Equal("Hello Hello", tokenizer.Decode([tokenizer.BosId, hello, hello]));
        Assert.Equal(" Hello", tokenizer.Decode([blank, hello]));
        Assert.Equal("\n Hello", tokenizer.Decode([Byte('\n'), hello]));
    }

    [Fact]
    public void Bytes_become_characters_and_each_stray_byte_a_replacement_character()
    {
        SentencePieceTokenizer tokenizer = TestTokenizers.Mistral;
        Assert.Equal("😀", tokenizer.Decode([Byte(0xF0), Byte(0x9F), Byte(0x98), Byte(0x80)]));
        Assert.Equal("\uFFFD\uFFFD\uFFFDA", tokenizer.Decode([Byte(0xF0), Byte(0x9F), Byte(0x98), Byte('A')]));
        Assert.Equal("\uFFFD\uFFFD", tokenizer.Decode([Byte(0xC3), tokenizer.EosId, Byte(0xA9)])); // as in SentencePiece
        Assert.Equal("\uFFFD\uFFFD\uFFFD", tokenizer.Decode([Byte(0xED), Byte(0xA0), Byte(0x80)])); // a surrogate
    }

    [Fact]
    public void A_streamed_character_comes_with_its_last_byte()
    {
        StreamingDecoder decoder = TestTokenizers.Mistral.CreateDecoder();
        Assert.Equal(["", "", "", "😀", ""],
            [decoder.Append(Byte(0xF0)), decoder.Append(Byte(0x9F)), decoder.Append(Byte(0x98)), decoder.Append(Byte(0x80)), decoder.Flush()]);
        Assert.Equal(["", "\uFFFD"], [decoder.Append(Byte(0xE2)), decoder.Flush()]);
    }

    [Fact]
    public void The_unknown_piece_is_shown_as_SentencePiece_shows_it() =>
        Assert.Equal(" \u2047 ", TestTokenizers.Mistral.Decode([0]));

    [Fact]
    public void Ids_outside_of_the_vocabulary_are_an_error()
    {
        Assert.Contains("32001", Assert.Throws<OpenElmException>(() => TestTokenizers.Mistral.Decode([32001])).Message, StringComparison.Ordinal);
        Assert.Throws<OpenElmException>(() => TestTokenizers.Mistral.Decode([-1]));
        Assert.Throws<ArgumentOutOfRangeException>(() => TestTokenizers.Mistral.PieceOf(32000));
    }

    [Fact]
    public void Pieces_and_ids_belong_together()
    {
        SentencePieceTokenizer tokenizer = TestTokenizers.Mistral;
        for (int id = 0; id < tokenizer.PieceCount; id++)
        {
            Assert.Equal(id, tokenizer.IdOf(tokenizer.PieceOf(id)));
        }
        Assert.Null(tokenizer.IdOf("no such piece"));
    }
}
