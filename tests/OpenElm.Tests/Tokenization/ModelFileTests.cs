using CsCheck;
using OpenElm.Tokenization;

namespace OpenElm.Tests.Tokenization;

public sealed class ModelFileTests
{
    static readonly Piece Unknown = new("<unk>", 0, PieceType.Unknown);

    static SentencePieceModel Small(params Piece[] pieces) => new()
    {
        Pieces = [Unknown, .. pieces],
        ModelType = SentencePieceModel.BpeModelType,
        RemoveExtraBlanks = false,
    };

    static SentencePieceTokenizer Load(SentencePieceModel model) => SentencePieceTokenizer.Parse(SentencePieceModelWriter.Write(model));

    static Piece Normal(string text, float score) => new(text, score, PieceType.Normal);

    [Fact]
    public void A_written_model_is_read_back()
    {
        SentencePieceModel model = SentencePieceModel.Parse(TestTokenizers.Mistral.ModelBytes.Span);
        SentencePieceModel again = SentencePieceModel.Parse(SentencePieceModelWriter.Write(model));
        Assert.Equal(model.Pieces, again.Pieces);
        Assert.Equal(model with { Pieces = [] }, again with { Pieces = [] });
    }

    [Fact]
    public void All_problems_are_reported_at_once()
    {
        SentencePieceModel model = Small(Unknown, Normal("a", float.NaN), Normal("b", 0), Normal("b", 0), new("<0x4>", 0, PieceType.Byte), new("<0x41>", 0, PieceType.Byte))
            with
        { ModelType = 1, BlankAsSuffix = true };
        string message = Assert.Throws<OpenElmException>(model.Validated).Message;
        foreach (string problem in new[] { "type unigram", "treat_whitespace_as_suffix", "score NaN", "'b' is there twice", "<0x4>", "2 pieces of type unknown", "byte fallback" })
        {
            Assert.Contains(problem, message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_missing_file_is_an_error_with_its_name() =>
        Assert.Contains("no/such/tokenizer.model", Assert.Throws<OpenElmException>(() => SentencePieceTokenizer.Load("no/such/tokenizer.model")).Message, StringComparison.Ordinal);

    [Fact]
    public void A_truncated_file_is_an_error()
    {
        byte[] file = TestTokenizers.Mistral.ModelBytes.ToArray();
        Gen.Int[0, file.Length - 1].Sample(length => Assert.Throws<OpenElmException>(() => SentencePieceTokenizer.Parse(file.AsSpan(0, length))), iter: 50);
    }

    [Fact]
    public void Damaged_bytes_never_crash()
    {
        byte[] file = SentencePieceModelWriter.Write(Small(Normal("▁a", -1), Normal("a", -2), Normal("▁", -3), new("<s>", 0, PieceType.Control)));
        Gen.Select(Gen.Int[0, file.Length - 1], Gen.Byte).Array[1, 4].Sample(changes =>
        {
            byte[] damaged = [.. file];
            foreach ((int at, byte value) in changes)
            {
                damaged[at] = value;
            }
            try
            {
                SentencePieceTokenizer tokenizer = SentencePieceTokenizer.Parse(damaged);
                tokenizer.Decode(tokenizer.Encode("a a"));
            }
            catch (OpenElmException)
            {
                // refused with a reason
            }
        }, iter: 20_000);
    }

    [Fact]
    public void Random_bytes_are_refused() =>
        Gen.Byte.Array[0, 200].Sample(bytes => Assert.Throws<OpenElmException>(() => SentencePieceTokenizer.Parse(bytes)), iter: 5000);

    [Fact]
    public void Equal_scores_merge_the_leftmost_first()
    {
        SentencePieceTokenizer tokenizer = Load(Small(Normal("ab", -1), Normal("bc", -1), Normal("a", -2), Normal("b", -2), Normal("c", -2)) with { AddDummyPrefix = false });
        Assert.Equal(["ab", "c"], tokenizer.Encode("abc").Select(tokenizer.PieceOf));
    }

    [Fact]
    public void A_piece_may_be_made_of_characters_that_are_no_pieces()
    {
        SentencePieceTokenizer tokenizer = Load(Small(Normal("xy", -1)) with { AddDummyPrefix = false });
        Assert.Equal([1], tokenizer.Encode("xy"));
        Assert.Equal([1, 0], tokenizer.Encode("xyyz")); // a run of unknown characters is one unknown piece
        Assert.Equal([(1, 0, 2), (0, 2, 2)], tokenizer.EncodeWithOffsets("xyyz").Select(piece => (piece.Id, piece.Offset, piece.Length)));
    }

    [Fact]
    public void Unused_pieces_are_taken_apart_again()
    {
        SentencePieceTokenizer tokenizer = Load(Small(
            new Piece("abc", -1, PieceType.Unused), new Piece("ab", -2, PieceType.Unused), Normal("bc", -3), Normal("a", -4), Normal("b", -4), Normal("c", -4))
            with
        { AddDummyPrefix = false });
        Assert.Equal(["a", "b", "c"], tokenizer.Encode("abc").Select(tokenizer.PieceOf));
        Assert.Equal([0, 1, 2], tokenizer.EncodeWithOffsets("abc").Select(piece => piece.Offset));
    }

    [Fact]
    public void The_longest_user_defined_piece_is_kept_whole()
    {
        SentencePieceTokenizer tokenizer = Load(Small(
            new Piece("<|a|>", 0, PieceType.UserDefined), new Piece("<|a|>b", 0, PieceType.UserDefined), Normal("<|", -1), Normal("▁", -2), Normal("b", -3)));
        Assert.Equal(["▁", "<|a|>b", "b", "<|a|>"], tokenizer.Encode("<|a|>bb<|a|>").Select(tokenizer.PieceOf));
    }

    [Fact]
    public void A_model_says_which_special_pieces_it_has()
    {
        SentencePieceTokenizer tokenizer = Load(Small(new Piece("<pad>", 0, PieceType.Control), Normal("a", -1)));
        Assert.Equal(-1, tokenizer.BosId);
        Assert.Equal(1, tokenizer.PadId);
        Assert.Contains("without BOS", Assert.Throws<OpenElmException>(() => tokenizer.Encode("a", new() { AddBos = true })).Message, StringComparison.Ordinal);
        Assert.Contains("without EOS", Assert.Throws<OpenElmException>(() => tokenizer.Encode("a", new() { AddEos = true })).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_text_that_contains_NUL_is_not_confused_with_a_shorter_one()
    {
        foreach (string text in new[] { "a", "a\0", "a\0\0", "\0", "\0\0" })
        {
            Assert.Equal(new PlainBpe(TestTokenizers.Mistral).Encode(text), TestTokenizers.Mistral.Encode(text));
        }
    }
}
