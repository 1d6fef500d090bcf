using System.IO.Compression;
using System.Text;
using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Tests.Checkpoints;

/// <summary>Files that torch wrote (Data/torch/make.py says what they hold), and pickles that nobody should run.</summary>
public sealed class TorchCheckpointTests
{
    static readonly LayerShape[] Layers = [new(2, 1, 8), new(4, 2, 12)];

    [Theory]
    [InlineData("state-dict.pt")]
    [InlineData("training.pt")]
    [InlineData("wrapped.pt")]
    [InlineData("protocol-4.pt")]
    public void Weights_and_architecture_of_torchs_files_are_read(string file)
    {
        using Checkpoint checkpoint = Checkpoint.Open(Data(file));
        Assert.Equal(CheckpointFormat.CoreNet, checkpoint.Format);
        Assert.Equal((11, 16, 4, true, true, true), (checkpoint.Config.VocabSize, checkpoint.Config.ModelDim, checkpoint.Config.HeadDim, checkpoint.Config.FfnWithGlu, checkpoint.Config.NormalizeQkProjections, checkpoint.Config.ShareInputOutputLayers));
        Assert.Equal(Layers, checkpoint.Config.Layers);
        Assert.Null(checkpoint.Tokenizer);
        int k = 0;
        foreach (TensorShape shape in TensorShapes.Of(checkpoint.Config))
        {
            Assert.Equal(Enumerable.Range(0, (int)shape.Elements).Select(i => (float)((((7 * i) + (13 * k)) % 128) - 64)), checkpoint.Weights[shape.Name].ToFloats());
            k++;
        }
    }

    [Fact]
    public void What_was_derived_and_left_out_is_said()
    {
        using Checkpoint training = Checkpoint.Open(Data("training.pt"));
        Assert.Contains(training.Notes, note => note.Contains("optimizer", StringComparison.Ordinal));
        Assert.Contains(training.Notes, note => note.Contains("RoPE base 10000", StringComparison.Ordinal) && note.Contains("assumed", StringComparison.Ordinal));
        using Checkpoint named = Checkpoint.Open(Data("training.pt"), training.Config with { RopeFreqConstant = 5000, VocabSize = 7 });
        Assert.Equal((5000, 11), (named.Config.RopeFreqConstant, named.Config.VocabSize));
        Assert.Contains(named.Notes, note => note.Contains("named", StringComparison.Ordinal));
        Assert.Contains("do not fit its named architecture", Assert.Throws<OpenElmException>(() => Checkpoint.Open(Data("training.pt"), NamedConfigs.Get("gpt-test"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Widths_of_a_shipped_model_give_its_configuration()
    {
        OpenElmConfig shipped = NamedConfigs.Get("openelm-270m");
        OpenElmConfig derived = ConfigFromWidths.Complete(
            new OpenElmConfig { VocabSize = 32128, ModelDim = 1280, HeadDim = 64, NormalizeQkProjections = true, ShareInputOutputLayers = true }, shipped.Layers, out string? name);
        Assert.Equal("openelm-270m", name);
        Assert.Equal(shipped with { VocabSize = 32128 }, derived);
    }

    [Fact]
    public void A_call_of_the_system_is_named_and_not_run()
    {
        string message = Assert.Throws<OpenElmException>(() => Checkpoint.Open(Data("hostile.pt"))).Message;
        Assert.Contains("posix.system at byte 35", message, StringComparison.Ordinal); // where pickletools finds it
        Assert.False(File.Exists(Path.Combine(Environment.CurrentDirectory, "hostile-ran")));
    }

    // Each is a pickle by hand, in the instructions of Python's pickletools.
    [Theory]
    [InlineData("\u0080\u0002cos\nsystem\nX\u0004\0\0\0exit\u0085R.", "os.system at byte 2")]
    [InlineData("\u0080\u0002cbuiltins\neval\n.", "builtins.eval")]
    [InlineData("\u0080\u0002ctorch\nload\n.", "torch.load")]
    [InlineData("\u0080\u0002ctorch.storage\n_load_from_bytes\n.", "_load_from_bytes")]
    [InlineData("\u0080\u0002X\u0002\0\0\0osX\u0006\0\0\0system\u0093.", "os.system at byte 20")] // STACK_GLOBAL
    [InlineData("\u0080\u0002ccollections\nOrderedDict\n)\u0081.", "instruction 0x81")] // NEWOBJ
    [InlineData("\u0080\u0002(ios\nsystem\n.", "instruction 'i'")] // INST
    [InlineData("\u0080\u0002)0.", "instruction '0'")] // POP
    [InlineData("\u0080\u0009N.", "protocol 9")]
    [InlineData("\u0080\u0002N.", "no dictionary of weights")]
    [InlineData("\u0080\u0002]q\u0000h\u0000a.", "no dictionary of weights")] // a list that contains itself
    [InlineData("\u0080\u0002}q\u0000X\u0001\0\0\0ah\u0000s.", "is no state dict: its entry a")] // a dictionary that does
    [InlineData("\u0080\u0002}X\u0001\0\0\0aK\u0001s.", "its entry a is 1")]
    [InlineData("\u0080\u0002}(]K\u0001u.", "a key is a list")]
    [InlineData("\u0080\u0002}(K\u0001u.", "1 keys and values")]
    [InlineData("\u0080\u0002}h\u0007.", "recalls the value 7")]
    [InlineData("\u0080\u0002.", "its stack is empty")]
    [InlineData("\u0080\u0002(.", "its stack is empty")]
    [InlineData("\u0080\u0002t.", "a mark is missing")]
    [InlineData("\u0080\u0002}", "1 bytes are needed and 0 are left")]
    [InlineData("\u0080\u0002X\u00ff\u00ff\u00ff\u00ffa", "4294967295 bytes are needed")]
    [InlineData("\u0080\u0002ccollections", "name of a class does not end")]
    [InlineData("\u0080\u0002K\u0001K\u0002a.", "appended to 1")]
    [InlineData("\u0080\u0002K\u0001}b.", "attributes are set on 1")]
    [InlineData("\u0080\u0002ccollections\nOrderedDict\nK\u0001\u0085R.", "arguments that it does not take")]
    [InlineData("\u0080\u0002ctorch._utils\n_rebuild_tensor_v2\n)R.", "arguments that it does not take")]
    [InlineData("\u0080\u0002)Q.", "named by a tuple of 0")]
    [InlineData("\u0080\u0002X\u0001\0\0\0aQ.", "persistent id is no tuple")]
    public void Other_pickles_are_refused_by_instruction_and_place(string pickle, string problem)
    {
        using var folder = new TemporaryFolder();
        WriteArchive(folder["x.pt"], ("data.pkl", Encoding.Latin1.GetBytes(pickle)));
        Assert.Contains(problem, Assert.Throws<OpenElmException>(() => Checkpoint.Open(folder["x.pt"])).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0, 4, 1, null)]
    [InlineData(0, 5, 1, "does not lie inside its storage")]
    [InlineData(1, 4, 1, "does not lie inside its storage")]
    [InlineData(0, 2, 4, "does not lie inside its storage")]
    [InlineData(0, 5, 0, "does not lie inside its storage")] // an expanded tensor: more elements than its storage has
    [InlineData(-1, 4, 1, "impossible")]
    [InlineData(0, -4, 1, "impossible")]
    [InlineData(0, int.MaxValue, int.MaxValue, "does not lie inside its storage")]
    public void Windows_must_lie_inside_their_storage(int offset, int size, int stride, string? problem)
    {
        static string Int(int value) => "J" + Encoding.Latin1.GetString(BitConverter.GetBytes(value));
        using var folder = new TemporaryFolder();
        string tensor = "ctorch._utils\n_rebuild_tensor_v2\n((X\u0007\0\0\0storagectorch\nFloatStorage\nX\u0001\0\0\00X\u0003\0\0\0cpuK\u0004tQ" + Int(offset) + Int(size) + "\u0085" + Int(stride) + "\u0085\u0089NtR";
        WriteArchive(folder["x.pt"], ("data.pkl", Encoding.Latin1.GetBytes("\u0080\u0002}X\u0001\0\0\0a" + tensor + "s.")), ("data/0", new byte[16]));
        string message = Assert.Throws<OpenElmException>(() => Checkpoint.Open(folder["x.pt"])).Message;
        Assert.Contains(problem ?? "no matrix token_embeddings.weight", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Damaged_and_compressed_archives_are_named()
    {
        using var folder = new TemporaryFolder();
        byte[] file = File.ReadAllBytes(Data("state-dict.pt"));
        string Message(byte[] bytes)
        {
            File.WriteAllBytes(folder["x.pt"], bytes);
            return Assert.Throws<OpenElmException>(() => Checkpoint.Open(folder["x.pt"])).Message;
        }

        Assert.Contains("no directory", Message(file[..^30]), StringComparison.Ordinal);
        Assert.Contains("before 1.6", Message([0x80, 0x02, 0x8A, 0x0A, 0, 0]), StringComparison.Ordinal);
        Assert.Contains("no known format", Message([1, 2, 3, 4, 5]), StringComparison.Ordinal);
        using (ZipArchive archive = ZipFile.Open(folder["deflated.pt"], ZipArchiveMode.Create))
        {
            using Stream entry = archive.CreateEntry("x/data.pkl", CompressionLevel.Optimal).Open();
            entry.Write(new byte[1000]);
        }

        Assert.Contains("x/data.pkl is compressed", Message(File.ReadAllBytes(folder["deflated.pt"])), StringComparison.Ordinal);
    }

    static string Data(string file) => Path.Combine(RepositoryFiles.Root, "tests", "OpenElm.Tests", "Data", "torch", file);

    static void WriteArchive(string path, params (string Name, byte[] Bytes)[] files)
    {
        using ZipArchive archive = ZipFile.Open(path, ZipArchiveMode.Create);
        foreach ((string name, byte[] bytes) in files)
        {
            using Stream entry = archive.CreateEntry("x/" + name, CompressionLevel.NoCompression).Open();
            entry.Write(bytes);
        }
    }
}
