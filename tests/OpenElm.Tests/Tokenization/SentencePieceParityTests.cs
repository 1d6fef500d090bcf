using OpenElm.Tokenization;

namespace OpenElm.Tests.Tokenization;

/// <summary>Our ids against those of SentencePiece's own program, for models of ours and of others.</summary>
public sealed class SentencePieceParityTests
{
    // What a line can hold; NUL would end a line for spm_encode.
    static readonly string[] HardLines =
    [
        "", " ", "   ", "\t", "a  b   c", "  leading and trailing  ", "▁ literal ▁▁ block", "12345 3.14 ３", "naïve café e\u0301",
        "日本語のテキスト 한국어 ошибка العربية", "😀 👩\u200D👩\u200D👧 🇩🇪", "<s> </s> <unk> <0x41>", "----------------====", "\uFEFF\uFFFD\u200B",
        "x" + new string(' ', 40) + "y", "\r", "http://example.com/a?b=c&d", "def f(x):    return x**2", "ﬁ ﬂ ① ½ ℃",
    ];

    static string[] SampleLines() =>
        [.. HardLines, .. TestTokenizers.SampleTexts().Take(300).SelectMany(text => text.Split('\n'))];

    static void AssertSame(SentencePieceTokenizer tokenizer, string[] lines)
    {
        int[][] expected = SentencePiecePrograms.Encode(tokenizer.ModelBytes.ToArray(), lines);
        Assert.Equal(lines.Length, expected.Length);
        for (int i = 0; i < lines.Length; i++)
        {
            Assert.True(expected[i].AsSpan().SequenceEqual(tokenizer.Encode(lines[i])),
                $"line {i} '{lines[i]}': {string.Join(' ', tokenizer.Encode(lines[i]))} instead of {string.Join(' ', expected[i])}");
            Assert.Equal(expected[i], tokenizer.EncodeWithOffsets(lines[i]).Select(piece => piece.Id));
        }
    }

    [Theory]
    [InlineData("mistral")]
    [InlineData("llama")]
    public void Foreign_models_encode_as_in_SentencePiece(string name)
    {
        SentencePiecePrograms.SkipWithout("spm_encode");
        AssertSame(TestTokenizers.Named(name), SampleLines());
    }

    [Theory]
    [InlineData(8192, true, true)]
    [InlineData(2000, false, true)]
    [InlineData(1000, true, false)]
    public void Models_that_we_train_encode_as_in_SentencePiece(int vocabulary, bool splitDigits, bool byteFallback)
    {
        SentencePiecePrograms.SkipWithout("spm_encode");
        var options = new BpeTrainerOptions { VocabularySize = vocabulary, SplitDigits = splitDigits, ByteFallback = byteFallback };
        AssertSame(new BpeTrainer(options).Train(TestTokenizers.SampleTexts().Take(300)), SampleLines());
    }

    // Every kind of piece and option that SentencePiece's trainer can put into a BPE model with the identity rule.
    [Theory]
    [InlineData("--byte_fallback --remove_extra_whitespaces=false --allow_whitespace_only_pieces")]
    [InlineData("--remove_extra_whitespaces=true")]
    [InlineData("--byte_fallback --add_dummy_prefix=false")]
    [InlineData("--byte_fallback --user_defined_symbols=<|x|>,▁of▁the▁,ing,x,日本 --control_symbols=<c>")]
    [InlineData("--remove_extra_whitespaces=false --user_defined_symbols=er,▁▁ --character_coverage=0.98")]
    [InlineData("--byte_fallback --split_by_whitespace=false --split_by_unicode_script=false --split_by_number=false")]
    [InlineData("--byte_fallback --pad_id=3 --bos_id=-1 --unk_surface=?")]
    public void Models_of_spm_train_encode_as_in_SentencePiece(string arguments)
    {
        SentencePiecePrograms.SkipWithout("spm_train");
        string folder = Directory.CreateTempSubdirectory("openelm-").FullName;
        try
        {
            string text = Path.Combine(folder, "text.txt");
            File.WriteAllLines(text, TestTokenizers.SampleTexts().Take(40).SelectMany(t => t.Split('\n')));
            SentencePiecePrograms.Run("spm_train", "",
            [
                "--input=" + text, "--model_prefix=" + Path.Combine(folder, "m"), "--model_type=bpe", "--vocab_size=1000", "--num_threads=1",
                "--normalization_rule_name=identity", .. arguments.Split(' '),
            ]);
            var tokenizer = SentencePieceTokenizer.Load(Path.Combine(folder, "m.model"));
            string[] lines = [.. SampleLines().Take(1500), "a<|x|>b  <|x|>", " of the  of the x", "erer  ing", "日本日本語", "<c>", "? ?"];
            AssertSame(tokenizer, lines);

            string ids = string.Concat(lines.Select(line => string.Join(' ', tokenizer.Encode(line)) + "\n"));
            string[] decoded = SentencePiecePrograms.Run("spm_decode", ids, "--model=" + Path.Combine(folder, "m.model"), "--input_format=id").Split('\n');
            for (int i = 0; i < lines.Length; i++)
            {
                Assert.Equal(decoded[i], tokenizer.Decode(tokenizer.Encode(lines[i])));
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Theory]
    [InlineData("--model_type=unigram", "it is of type unigram")]
    [InlineData("--model_type=char", "it is of type char")]
    [InlineData("--model_type=bpe --normalization_rule_name=nmt_nfkc", "the rule 'nmt_nfkc'")]
    [InlineData("--model_type=bpe --treat_whitespace_as_suffix", "treat_whitespace_as_suffix")]
    [InlineData("--model_type=unigram --normalization_rule_name=nfkc_cf", "the rule 'nfkc_cf'")]
    public void Other_kinds_of_models_are_refused_with_the_reason(string arguments, string reason)
    {
        SentencePiecePrograms.SkipWithout("spm_train");
        string folder = Directory.CreateTempSubdirectory("openelm-").FullName;
        try
        {
            string text = Path.Combine(folder, "text.txt");
            File.WriteAllLines(text, TestTokenizers.SampleTexts().Take(5).SelectMany(t => t.Split('\n')));
            SentencePiecePrograms.Run("spm_train", "",
            [
                "--input=" + text, "--model_prefix=" + Path.Combine(folder, "m"), "--vocab_size=200", "--num_threads=1", "--hard_vocab_limit=false",
                "--normalization_rule_name=identity", .. arguments.Split(' '),
            ]);
            string path = Path.Combine(folder, "m.model");
            string message = Assert.Throws<OpenElmException>(() => SentencePieceTokenizer.Load(path)).Message;
            Assert.StartsWith(path, message, StringComparison.Ordinal);
            Assert.Contains(reason, message, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
