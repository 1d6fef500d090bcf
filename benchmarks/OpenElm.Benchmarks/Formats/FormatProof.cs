using OpenElm.Checkpoints;
using OpenElm.Checkpoints.Gguf;
using OpenElm.Configuration;
using OpenElm.Inference;
using OpenElm.Verification.Golden;

namespace OpenElm.Benchmarks.Formats;

/// <summary>Our GGUF files in llama.cpp, and llama.cpp's in our runtime: logits and values side by side, as tables.</summary>
internal static class FormatProof
{
    const double Allowed = 1e-4; // float32 on both sides: only the order of sums differs
    const double AllowedInIntegers = 0.04; // activations of 8 bits: each product is off by about 0.5 %, and three layers amplify that

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
            Read(llama, work);
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

    // Values block by block, then what both programs compute with them in fp32, then with their own kernels for the type.
    static void Read(LlamaCpp llama, string work)
    {
        Console.WriteLine("| quantised by llama-quantize | tensor types | values that differ | fp32 logits on these values, largest difference | allowed | our kernels for the type, relative error | allowed | llama.cpp's |");
        Console.WriteLine("|---|---|---|---|---|---|---|---|");
        string plain = Path.Combine(work, "plain.gguf"), quantised = Path.Combine(work, "quantised.gguf"), theirs = Path.Combine(work, "theirs.gguf"), ours = Path.Combine(work, "ours.gguf");
        GgufWriter.Write(plain, RandomModels.Create(Wide, 2));
        int[][] sequences = RandomModels.Sequences(Wide.VocabSize, 3, 40);
        foreach (string type in new[] { "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K_M", "Q5_K_M", "Q6_K" })
        {
            llama.Quantize(plain, quantised, type);
            llama.Quantize(quantised, theirs, "F32");
            long different = DifferentValues(quantised, theirs, out string types);
            using (var checkpoint = Checkpoint.Open(quantised))
            {
                GgufWriter.Write(ours, ModelConversion.Content(checkpoint, DType.F32), overwrite: true);
            }

            float[] theirLogits = llama.Logits(theirs, sequences), ourLogits = Ours(ours, sequences);
            double error = LargestError(ourLogits, theirLogits), inIntegers = RelativeError(ourLogits, Ours(quantised, sequences));
            bool passed = different == 0 && error <= Allowed && inIntegers <= AllowedInIntegers;
            _failed |= !passed;
            Console.WriteLine($"| {type} | {types} | {different} of {ParameterCount.Of(Wide).Total:N0} | {error:0.0e+00}{(passed ? "" : " **failed**")} | {Allowed:0e+00} | {inIntegers:0.0e+00} | {AllowedInIntegers:0e+00} | {RelativeError(theirLogits, llama.Logits(quantised, sequences)):0.0e+00} |");
        }

        Console.WriteLine();
    }

    static long DifferentValues(string quantised, string floats, out string types)
    {
        using Checkpoint a = Checkpoint.Open(quantised), b = Checkpoint.Open(floats);
        types = string.Join(", ", a.Weights.Values.SelectMany(weight => weight.Parts).GroupBy(part => part.DType).OrderBy(group => group.Key).Select(group => $"{group.Count()} {group.Key}"));
        return a.Weights.Sum(pair => pair.Value.ToFloats().Zip(b.Weights[pair.Key].ToFloats()).LongCount(values => BitConverter.SingleToInt32Bits(values.First) != BitConverter.SingleToInt32Bits(values.Second)));
    }

    // Root of the mean square of the differences, relative to that of the logits.
    static double RelativeError(float[] expected, float[] actual) =>
        Math.Sqrt(expected.Zip(actual, (a, b) => Math.Pow((double)a - b, 2)).Sum() / expected.Sum(value => (double)value * value));

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
