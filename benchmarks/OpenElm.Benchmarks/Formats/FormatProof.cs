using OpenElm.Checkpoints.Gguf;
using OpenElm.Configuration;
using OpenElm.Inference;
using OpenElm.Verification.Golden;

namespace OpenElm.Benchmarks.Formats;

/// <summary>Our GGUF files in llama.cpp, and llama.cpp's in our runtime: logits and values side by side, as tables.</summary>
internal static class FormatProof
{
    const double Allowed = 1e-4; // float32 on both sides: only the order of sums differs

    // Rows of every matrix are multiples of 256, which the K formats need.
    static readonly OpenElmConfig Wide = new()
    {
        VocabSize = 1000,
        NumTransformerLayers = 3,
        ModelDim = 512,
        HeadDim = 64,
        QueryHeadsPerKvHead = 4,
        QkvMultipliers = (0.5, 1.0),
        FfnMultipliers = (1.0, 3.0),
        NormalizeQkProjections = true,
        ShareInputOutputLayers = true,
    };

    // Nothing is a multiple of a vector; RoPE and epsilon are not the usual ones.
    static readonly OpenElmConfig Odd = Wide with
    {
        VocabSize = 137,
        NumTransformerLayers = 5,
        ModelDim = 72,
        HeadDim = 18,
        QueryHeadsPerKvHead = 2,
        FfnDimDivisor = 11,
        RopeFreqConstant = 5000,
        RmsNormEps = 1e-5,
    };

    static bool _failed;

    public static int Run(string[] args)
    {
        if (args is not [var programs, var golden])
        {
            Console.Error.WriteLine("usage: formats LLAMA_CPP_FOLDER GOLDEN_FOLDER");
            return 2;
        }

        string work = Directory.CreateTempSubdirectory("openelm-formats-").FullName;
        try
        {
            var llama = new LlamaCpp(programs);
            Written(llama, golden, work);
            return _failed ? 1 : 0;
        }
        finally
        {
            Directory.Delete(work, recursive: true);
        }
    }

    static void Written(LlamaCpp llama, string golden, string work)
    {
        Console.WriteLine("| F32 model, written as GGUF by us | compared with | logits | largest error | allowed |");
        Console.WriteLine("|---|---|---|---|---|");
        using var runtime = new LlamaCppGoldenRuntime(llama, work);
        foreach (GoldenResult result in GoldenSuite.Run(golden, runtime).Where(result => result.Status != GoldenStatus.NotApplicable))
        {
            GoldenCheck check = result.Checks.Single();
            Row($"golden {result.File}", "CoreNet's logits", "", check.MaxAbsoluteError);
        }

        foreach ((string name, OpenElmConfig config) in new[] { ("random, widths multiples of 256", Wide), ("random, odd widths", Odd), ("random OpenELM-270M", NamedConfigs.Get("openelm-270m")) })
        {
            string path = Path.Combine(work, "random.gguf");
            GgufWriter.Write(path, RandomModels.Create(config, 1), overwrite: true);
            int[][] sequences = RandomModels.Sequences(config.VocabSize, 3, 40);
            float[] theirs = llama.Logits(path, sequences), ours = Ours(path, sequences);
            Row(name, "our logits of the same file", $"{ours.Length:N0}", LargestError(ours, theirs));
        }

        Console.WriteLine();
    }

    static void Row(string model, string with, string logits, double error)
    {
        _failed |= !(error <= Allowed);
        Console.WriteLine($"| {model} | {with} | {logits} | {error:0.0e+00}{(error <= Allowed ? "" : " **too large**")} | {Allowed:0e+00} |");
    }

    static float[] Ours(string path, int[][] sequences)
    {
        using OpenElmModel model = OpenElmModel.Load(path);
        float[] logits = new float[sequences.Sum(tokens => tokens.Length) * model.Config.VocabSize];
        int at = 0;
        foreach (int[] tokens in sequences)
        {
            int count = tokens.Length * model.Config.VocabSize;
            model.ComputeLogits(tokens, 0, logits.AsSpan(at, count));
            at += count;
        }

        return logits;
    }

    static double LargestError(float[] ours, float[] theirs) =>
        ours.Length == theirs.Length ? ours.Zip(theirs, (a, b) => Math.Abs((double)a - b)).Max() : double.PositiveInfinity;
}
