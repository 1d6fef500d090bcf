using System.Diagnostics;
using System.Globalization;
using System.IO.Compression;
using System.Runtime.InteropServices;
using System.Text;
using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Checkpoints.Gguf;
using OpenElm.Checkpoints.Mlx;
using OpenElm.Configuration;
using OpenElm.Tokenization;

namespace OpenElm.Tests.Hostile;

/// <summary>
/// Damaged files of every format: a reader succeeds or throws <see cref="OpenElmException"/>, and nothing else; it neither hangs
/// nor allocates more than a few times what a file holds. <c>OPENELM_MUTATIONS=10000</c> makes as many mutations of each file.
/// </summary>
public sealed class HostileFileTests : IDisposable
{
    const int ManyBytes = 24 << 20; // the files have at most 60 thousand bytes
    static readonly TimeSpan Long = TimeSpan.FromSeconds(10);
    static readonly int Count = Environment.GetEnvironmentVariable("OPENELM_MUTATIONS") is { Length: > 0 } count ? int.Parse(count, CultureInfo.InvariantCulture) : 200;

    static readonly OpenElmConfig Small = new()
    {
        VocabSize = 20,
        MaxContextLength = 16,
        NumTransformerLayers = 2,
        ModelDim = 32,
        HeadDim = 8,
        QueryHeadsPerKvHead = 2,
        QkvMultipliers = (1.0, 2.0),
        FfnMultipliers = 1.0,
        FfnDimDivisor = 32,
        NormalizeQkProjections = true,
        ShareInputOutputLayers = true,
    };

    readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Safetensors() => Attack(HuggingFace(long.MaxValue), "model.safetensors");

    [Fact]
    public void Config_of_hugging_face() => Attack(HuggingFace(long.MaxValue), "config.json");

    [Fact]
    public void Index_of_shards() => Attack(HuggingFace(4000), "model.safetensors.index.json");

    [Fact]
    public void Gguf_in_floats_with_a_vocabulary() => Attack(Gguf(null), "");

    [Fact]
    public void Gguf_in_blocks() => Attack(Gguf(DType.Q8_0), "");

    [Theory]
    [InlineData(AdapterFolder.ConfigFile)]
    [InlineData(AdapterFolder.WeightsFile)]
    public void Adapter(string file)
    {
        var rules = new AdapterConfig { Rules = [new AdapterRule { Modules = "token", Rank = 2 }, new AdapterRule { Modules = ".*qkv_proj", Rank = 3, Alpha = 5, Dora = true }, new AdapterRule { Modules = ".*proj_2", Rank = 3 }] };
        RandomAdapters.Write(_folder["adapter"], rules, Small);
        string attacked = Path.Combine(_folder["adapter"], file);
        Attack(File.ReadAllBytes(attacked), bytes => File.WriteAllBytes(attacked, bytes), () =>
        {
            using var adapter = OpenElm.Adapters.Adapter.Open(_folder["adapter"], Small);
            Assert.All(adapter.Modules, weights => Assert.All(weights.Module.Parts, part => Assert.Equal(weights[part].Elements, weights[part].ToFloats().Length)));
        });
    }

    [Theory]
    [InlineData("state-dict.pt")]
    [InlineData("training.pt")]
    [InlineData("wrapped.pt")]
    [InlineData("protocol-4.pt")]
    public void Torchs_archive(string file)
    {
        string path = _folder["model.pt"];
        File.Copy(Path.Combine(RepositoryFiles.Root, "tests", "OpenElm.Tests", "Data", "torch", file), path);
        Attack(path, "");
    }

    // Damage inside the pickle only: the archive around it stays whole.
    [Theory]
    [InlineData("training.pt")]
    [InlineData("protocol-4.pt")]
    public void Torchs_pickle(string file)
    {
        using ZipArchive archive = ZipFile.OpenRead(Path.Combine(RepositoryFiles.Root, "tests", "OpenElm.Tests", "Data", "torch", file));
        (string Name, byte[] Bytes)[] entries = [.. archive.Entries.Select(entry =>
        {
            using Stream stream = entry.Open();
            using var bytes = new MemoryStream();
            stream.CopyTo(bytes);
            return (entry.FullName, bytes.ToArray());
        })];
        byte[] pickle = entries.Single(entry => entry.Name.EndsWith("data.pkl", StringComparison.Ordinal)).Bytes;
        Attack(pickle, mutated =>
        {
            using (ZipArchive written = new(File.Create(_folder["model.pt"]), ZipArchiveMode.Create))
            {
                foreach ((string name, byte[] bytes) in entries)
                {
                    using Stream stream = written.CreateEntry(name, CompressionLevel.NoCompression).Open();
                    stream.Write(bytes == pickle ? mutated : bytes);
                }
            }
        }, () => Use(_folder["model.pt"]));
    }

    [Theory]
    [InlineData("config.json")]
    [InlineData("weights.safetensors")]
    public void Mlx_folder_of_apple(string file)
    {
        OpenElmConfig config = NamedConfigs.Get("gpt-test") with { VocabSize = 8 };
        MlxFolderWriter.Write(_folder["mlx"], new ModelContent(config, [.. RandomModel.Create(config, 1, DType.BF16).Weights]));
        Attack(_folder["mlx"], file);
    }

    [Theory]
    [InlineData("config.json")]
    [InlineData("model.safetensors")]
    public void Quantised_folder_of_mlx_lm(string file)
    {
        using (Checkpoint plain = Checkpoint.Open(HuggingFace(long.MaxValue)))
        {
            CheckpointWriter.Write(_folder["mlx-lm"], CheckpointWriter.Content(plain, CheckpointFormat.MlxLm, DType.Affine4x32), CheckpointFormat.MlxLm);
        }

        Attack(_folder["mlx-lm"], file);
    }

    [Fact]
    public void Archive_of_numpy()
    {
        string folder = Directory.CreateDirectory(_folder["npz"]).FullName;
        File.WriteAllText(Path.Combine(folder, "config.json"), """{"model_name": "gpt-test", "vocab_size": 4, "max_context_length": 2048}""");
        using (ZipArchive archive = ZipFile.Open(Path.Combine(folder, "weights.npz"), ZipArchiveMode.Create))
        {
            foreach (TensorShape shape in TensorShapes.Of(NamedConfigs.Get("gpt-test") with { VocabSize = 4 }).Where(shape => shape.Elements < 10000)) // the reader looks at all before it misses the others
            {
                using Stream entry = archive.CreateEntry(shape.Name + ".npy", CompressionLevel.NoCompression).Open();
                string header = $"{{'descr': '<f2', 'fortran_order': False, 'shape': ({string.Join(", ", shape.Shape)},), }}\n";
                entry.Write([0x93, .. "NUMPY"u8, 1, 0, (byte)header.Length, 0, .. Encoding.ASCII.GetBytes(header)]);
                entry.Write(new byte[2 * shape.Elements]);
            }
        }

        Attack(folder, "weights.npz");
    }

    [Fact]
    public void Llama2c()
    {
        int[] header = [8, 12, 2, 2, 1, 5, 6];
        File.WriteAllBytes(_folder["model.bin"], [.. MemoryMarshal.AsBytes(header.AsSpan()), .. new byte[4 * ((5 * 8) + 8 + (2 * 6 * 2) + (2 * ((2 * 8) + (2 * 64) + (2 * 4 * 8) + (3 * 12 * 8))))]]);
        Attack(_folder["model.bin"], "");
    }

    [Fact]
    public void Tokenizer_of_SentencePiece() => Attack(
        File.ReadAllBytes(Path.Combine(RepositoryFiles.Root, "samples", "stories260k", "tokenizer.model")), bytes => File.WriteAllBytes(_folder["tokenizer.model"], bytes), () =>
        {
            var tokenizer = SentencePieceTokenizer.Load(_folder["tokenizer.model"]);
            tokenizer.Decode(tokenizer.Encode("Once upon a time, 3 things."));
        });

    [Fact]
    public void Tokenizer_of_llama2c() => Attack(
        File.ReadAllBytes(Path.Combine(RepositoryFiles.Root, "samples", "stories260k", "tok512.bin")), bytes => File.WriteAllBytes(_folder["tok.bin"], bytes), () =>
        {
            var tokenizer = Llama2cTokenizer.Read(_folder["tok.bin"], 512);
            tokenizer.Decode(tokenizer.Encode("Once upon a time, 3 things."));
        });

    void Attack(string checkpoint, string file)
    {
        Use(checkpoint is { } path && !path.EndsWith("npz", StringComparison.Ordinal) ? path : null); // undamaged, it opens
        string attacked = file == "" ? checkpoint : Path.Combine(checkpoint, file);
        Attack(File.ReadAllBytes(attacked), bytes => File.WriteAllBytes(attacked, bytes), () => Use(checkpoint));
    }

    static void Attack(byte[] original, Action<byte[]> write, Action open)
    {
        int refused = 0;
        for (int seed = 0; seed < Count; seed++)
        {
            write(Mutations.Mutate(original, new Random(seed)));
            long before = GC.GetAllocatedBytesForCurrentThread();
            long started = Stopwatch.GetTimestamp();
            try
            {
                open();
            }
            catch (OpenElmException e)
            {
                refused++;
                Assert.InRange(e.Message.Length, 1, 100_000);
            }
            catch (Exception e)
            {
                Assert.Fail($"mutation {seed}: {e}");
            }

            long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            Assert.True(allocated < ManyBytes, $"mutation {seed} allocated {allocated} bytes");
            Assert.True(Stopwatch.GetElapsedTime(started) < Long, $"mutation {seed} took {Stopwatch.GetElapsedTime(started)}");
        }

        Assert.InRange(refused, Count / 10, Count); // the damage is real
    }

    // Everything that is mapped is touched: a window outside of the file would end the process.
    static void Use(string? path)
    {
        if (path is null)
        {
            return;
        }

        using Checkpoint checkpoint = Checkpoint.Open(path);
        foreach (StoredWeight weight in checkpoint.Weights.Values)
        {
            Assert.Equal(weight.Elements, weight.ToFloats().Length);
        }

        if (checkpoint.Tokenizer is { } tokenizer)
        {
            SentencePieceTokenizer.Parse(tokenizer.Span);
        }
    }

    string HuggingFace(long maxShardBytes)
    {
        ModelFolderWriter.Write(_folder["hf"], RandomModel.Create(Small, 1, DType.BF16) with { MaxShardBytes = maxShardBytes });
        return _folder["hf"];
    }

    string Gguf(DType? type)
    {
        OpenElmConfig config = Small;
        ReadOnlyMemory<byte>? tokenizer = null;
        if (type is null)
        {
            config = config with { VocabSize = 520, ModelDim = 16 };
            tokenizer = File.ReadAllBytes(Path.Combine(RepositoryFiles.Root, "samples", "stories260k", "tokenizer.model"));
        }

        ModelFolderWriter.Write(_folder["plain"], RandomModel.Create(config, 1) with { Tokenizer = tokenizer });
        using Checkpoint plain = Checkpoint.Open(_folder["plain"]);
        GgufWriter.Write(_folder["model.gguf"], CheckpointWriter.Content(plain, CheckpointFormat.Gguf, type));
        return _folder["model.gguf"];
    }
}
