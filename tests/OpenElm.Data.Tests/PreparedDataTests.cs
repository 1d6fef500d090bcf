using CsCheck;

namespace OpenElm.Data.Tests;

/// <summary>Prepared tokens give the batches that the texts give, and only where they would.</summary>
public sealed class PreparedDataTests : IDisposable
{
    static readonly string[] Names = ["a.jsonl.gz", "b.parquet", "c.txt"];

    readonly CorpusFolder _folder = new();

    public PreparedDataTests()
    {
        _folder.Write(Names[0], "one two three four five six seven", "short", "a somewhat longer text than the others, over several sequences of eight");
        _folder.Write(Names[1], "p q r s t u v w x y z", "", "last", "and one more row group here");
        _folder.Write(Names[2], "plain text as one document");
    }

    public void Dispose() => _folder.Dispose();

    static DataConfig ConfigOf(DataMode mode) => new()
    {
        Sources = [.. Names.Select(name => new DataSource { FileName = name })],
        Mode = mode,
        SequenceLength = 8,
        DocumentSplitSize = 3,
        MinTokensPerText = 4,
        Shards = 2,
        ShuffleData = true,
        RandomSeed = 3,
    };

    PreparedManifest Prepare(DataConfig config, long pieceBytes = 60_000_000, ByteEncoder? encoder = null, bool overwrite = false) =>
        DataPreparation.Write(config, _folder.Root, encoder ?? new ByteEncoder(), _folder["prepared"],
            new PrepareOptions { PieceBytes = pieceBytes, Overwrite = overwrite });

    BatchStream Open(DataConfig config, bool prepared, DataPosition? start = null, ByteEncoder? encoder = null) =>
        new(config with { PreparedDir = prepared ? "prepared" : null }, _folder.Root, encoder ?? new ByteEncoder(), 2, start);

    string Refusal(DataConfig config, ByteEncoder? encoder = null) => Assert.Throws<OpenElmException>(() =>
    {
        using BatchStream stream = Open(config, prepared: true, encoder: encoder);
        for (int i = 0; i < 50; i++)
        {
            stream.Next();
        }
    }).Message;

    [Theory]
    [InlineData(DataMode.Faithful, 60_000_000, 258)]
    [InlineData(DataMode.Faithful, 100, 258)]
    [InlineData(DataMode.Packing, 60_000_000, 258)]
    [InlineData(DataMode.Packing, 150, 258)]
    [InlineData(DataMode.Packing, 150, 70_000)] // 32-bit tokens
    public void Batches_are_those_of_the_texts_and_positions_may_be_exchanged(DataMode mode, long pieceBytes, int pieces)
    {
        var encoder = new ByteEncoder { PieceCount = pieces };
        DataConfig config = ConfigOf(mode);
        PreparedManifest manifest = Prepare(config, pieceBytes, encoder);
        Assert.Equal(pieceBytes < 1000, manifest.Files[0].Pieces.Length > 1);
        using BatchStream texts = Open(config, prepared: false, encoder: encoder);
        using BatchStream tokens = Open(config, prepared: true, encoder: encoder);
        for (int i = 0; i < 40; i++)
        {
            using BatchStream tokensAgain = Open(config, prepared: true, texts.Position, encoder);
            using BatchStream textsAgain = Open(config, prepared: false, tokens.Position, encoder);
            TokenBatch expected = texts.Next();
            foreach (BatchStream other in (BatchStream[])[tokens, tokensAgain, textsAgain])
            {
                TokenBatch batch = other.Next();
                Assert.Equal(expected.Inputs, batch.Inputs);
                Assert.Equal(expected.Targets, batch.Targets);
                Assert.Equal((expected.Index, expected.Origin), (batch.Index, batch.Origin));
            }
        }

        Assert.Equal(texts.Statistics.TokensKept, tokens.Statistics.TokensKept);
        Assert.Equal(texts.Statistics.TokensPadded, tokens.Statistics.TokensPadded);
    }

    [Fact]
    public void Texts_may_be_gone()
    {
        DataConfig config = ConfigOf(DataMode.Packing);
        Prepare(config);
        int[] expected;
        using (BatchStream texts = Open(config, prepared: false))
        {
            expected = texts.Next().Inputs;
        }

        Array.ForEach(Names, name => File.Delete(_folder[name]));
        using BatchStream tokens = Open(config, prepared: true);
        Assert.Equal(expected, tokens.Next().Inputs);
    }

    [Fact]
    public void Packing_does_not_care_about_length_shards_and_seed_but_the_faithful_mode_cuts()
    {
        Prepare(ConfigOf(DataMode.Packing));
        DataConfig other = ConfigOf(DataMode.Packing) with { SequenceLength = 11, Shards = 3, RandomSeed = 4, ShuffleData = false };
        using BatchStream texts = Open(other, prepared: false);
        using BatchStream tokens = Open(other, prepared: true);
        for (int i = 0; i < 20; i++)
        {
            Assert.Equal(texts.Next().Inputs, tokens.Next().Inputs);
        }

        Prepare(ConfigOf(DataMode.Faithful), overwrite: true);
        Assert.Contains("sequence_length was 8 and is now 9", Refusal(ConfigOf(DataMode.Faithful) with { SequenceLength = 9 }));
    }

    [Fact]
    public void Whatever_would_give_other_tokens_is_refused_by_name()
    {
        DataConfig config = ConfigOf(DataMode.Faithful);
        Prepare(config);
        string message = Refusal(config with { MinTokensPerText = 0, CleanUp = false });
        Assert.Contains("min_tokens_per_text was 4 and is now 0", message);
        Assert.Contains("clean_up was True and is now False", message);
        Assert.Contains("mode was Faithful and is now Packing", Refusal(ConfigOf(DataMode.Packing)));
        Assert.Contains("the tokenizer is another one", Refusal(config, new ByteEncoder { Fingerprint = "other" }));
        Assert.Contains("are not the 3 that were prepared", Refusal(config with { Sources = config.Sources[..2] }));
        _folder.Write(Names[2], "plain text as one document, and more");
        Assert.Contains($"{_folder[Names[2]]} had 26 bytes and has 36 now", Refusal(config));
    }

    [Fact]
    public void Damage_is_named()
    {
        DataConfig config = ConfigOf(DataMode.Packing);
        string name = Prepare(config).Files[0].Pieces[0].Name;
        string path = Path.Combine(_folder["prepared"], name);
        byte[] bytes = File.ReadAllBytes(path);
        Gen.Int[0, bytes.Length - 1].Sample(at =>
        {
            byte[] bad = [.. bytes];
            bad[at] ^= 1;
            File.WriteAllBytes(path, bad);
            Assert.Contains($"{path} is damaged", Refusal(config));
        }, iter: 30, threads: 1);
        File.WriteAllBytes(path, bytes[..^1]);
        Assert.Contains($"it has {bytes.Length - 1} bytes and should have {bytes.Length}", Refusal(config));
        File.Delete(path);
        Assert.Contains($"{path} is missing", Refusal(config));
        File.WriteAllText(Path.Combine(_folder["prepared"], "manifest.json"), "{");
        Assert.Contains("cannot be read", Refusal(config));
        Directory.Delete(_folder["prepared"], recursive: true);
        Assert.Contains("There is no prepared data in", Refusal(config));
    }

    [Fact]
    public void Pieces_stay_below_their_size()
    {
        PreparedManifest manifest = Prepare(ConfigOf(DataMode.Packing), pieceBytes: 230);
        Assert.All(manifest.Files.SelectMany(file => file.Pieces), piece => Assert.True(piece.Bytes <= 230 || piece.Texts == 1));
        Assert.All(manifest.Files.SelectMany(file => file.Pieces), piece =>
            Assert.Equal(piece.Bytes, new FileInfo(Path.Combine(_folder["prepared"], piece.Name)).Length));
    }

    [Fact]
    public void A_failure_leaves_nothing_and_an_existing_folder_stays()
    {
        DataConfig config = ConfigOf(DataMode.Packing);
        File.WriteAllText(_folder[Names[2]], "");
        Assert.Contains("is empty", Assert.Throws<OpenElmException>(() => Prepare(config)).Message);
        Assert.DoesNotContain("prepared", string.Join(' ', Directory.EnumerateDirectories(_folder.Root)));

        _folder.Write(Names[2], "text");
        Prepare(config);
        Assert.Contains("exists and is not empty", Assert.Throws<OpenElmException>(() => Prepare(config)).Message);
        Prepare(config, overwrite: true);
    }

    [Fact]
    public void Workers_do_not_change_what_is_written()
    {
        string one = Prepare(ConfigOf(DataMode.Packing)).ToJson();
        Assert.Equal(one, Prepare(ConfigOf(DataMode.Packing) with { Workers = 3 }, overwrite: true).ToJson());
    }
}
