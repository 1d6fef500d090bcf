using System.Diagnostics;
using OpenElm.Benchmarks.Formats;
using OpenElm.Checkpoints;
using OpenElm.Checkpoints.Gguf;
using OpenElm.Configuration;
using OpenElm.Inference;
using OpenElm.Inference.Calibration;
using OpenElm.Quantization;

namespace OpenElm.Benchmarks.Quantization;

/// <summary>Our quantiser beside llama.cpp's: the same weights, formats and importance; errors, perplexity and seconds as tables.</summary>
internal static class QuantizationComparison
{
    // One type for all matrices (--pure): the K types' names of mixes stand for the plain type then.
    static readonly (string Format, string Llama)[] Pure =
        [("Q4_0", "Q4_0"), ("Q4_1", "Q4_1"), ("Q4_K", "Q4_K_S"), ("Q5_0", "Q5_0"), ("Q5_1", "Q5_1"), ("Q5_K", "Q5_K_S"), ("Q6_K", "Q6_K"), ("Q8_0", "Q8_0")];

    static bool _worse;

    public static int Run(string[] args)
    {
        if (args is not [var programs, var model, .. var texts] || texts.Length is not (0 or 2 or 3))
        {
            Console.Error.WriteLine("usage: quantization LLAMA_CPP_FOLDER MODEL_OR_NAME [CALIBRATION_TEXT HELD_OUT_TEXT [TOKENS]]");
            return 2;
        }

        string work = Directory.CreateTempSubdirectory("openelm-quantization-").FullName;
        try
        {
            var llama = new LlamaCpp(programs);
            string plain = Path.Combine(work, "plain.gguf");
            WritePlain(model, plain);
            int tokens = texts is [_, _, var count] ? int.Parse(count) : int.MaxValue;
            ImportanceWeights? importance = texts is [var calibration, ..] ? Calibrate(plain, calibration, tokens) : null;
            Errors(llama, plain, work, importance: null);
            if (importance is not null)
            {
                Errors(llama, plain, work, importance);
                Perplexities(llama, plain, work, importance, texts[1], tokens);
            }

            return _worse ? 1 : 0;
        }
        finally
        {
            Directory.Delete(work, recursive: true);
        }
    }

    static void WritePlain(string model, string path)
    {
        if (NamedConfigs.Contains(model))
        {
            GgufWriter.Write(path, RandomModels.Create(NamedConfigs.Get(model), 1));
            return;
        }

        using var source = Checkpoint.Open(model);
        GgufWriter.Write(path, ModelConversion.Content(source, DType.F32));
    }

    static ImportanceWeights Calibrate(string path, string text, int tokens)
    {
        using var model = TextModel.Load(path);
        return ImportanceCollector.Collect(model.Model, Tokens(model, text, tokens)).Importance;
    }

    static void Errors(LlamaCpp llama, string plain, string work, ImportanceWeights? importance)
    {
        Console.WriteLine(importance is null
            ? "| all matrices in | relative RMS error, llama.cpp | ours | ratio | largest ratio of a matrix | seconds, llama.cpp | ours |"
            : "| with importance, in | relative weighted RMS error, llama.cpp | ours | ratio | largest ratio of a matrix | seconds, llama.cpp | ours |");
        Console.WriteLine("|---|---|---|---|---|---|---|");
        string path = Path.Combine(work, "theirs.gguf"), matrix = Path.Combine(work, "importance.dat");
        using var source = Checkpoint.Open(plain);
        if (importance is not null)
        {
            ImportanceFile.Write(matrix, source, importance);
        }

        foreach ((string format, string llamaType) in Pure)
        {
            long start = Stopwatch.GetTimestamp();
            llama.Quantize(plain, path, llamaType, importance is null ? ["--pure"] : ["--pure", "--imatrix", matrix]);
            double theirSeconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            using var theirs = Checkpoint.Open(path);
            var matrices = source.Weights.Values.Where(weight => weight.Shape.Length == 2).Select(weight => Compare(weight, theirs.Weights[weight.Name], importance)).ToArray();
            Matrix all = matrices.Aggregate((a, b) => new Matrix(a.Theirs + b.Theirs, a.Ours + b.Ours, a.Energy + b.Energy, a.Seconds + b.Seconds));
            double worst = matrices.Max(one => one.Ratio);
            _worse |= !(worst <= 1);
            Console.WriteLine($"| {format} | {Math.Sqrt(all.Theirs / all.Energy):P3} | {Math.Sqrt(all.Ours / all.Energy):P3} | {all.Ratio:F3} | {worst:F3}{(worst <= 1 ? "" : " **worse**")} | {theirSeconds:F1} | {all.Seconds:F1} |");
        }

        Console.WriteLine();
    }

    // Both errors of one matrix, in the types that llama.cpp chose for its parts.
    static Matrix Compare(StoredWeight source, StoredWeight theirs, ImportanceWeights? importance)
    {
        float[] before = source.ToFloats(), their = theirs.ToFloats(), our = new float[before.Length];
        float[] columns = importance?.Of(source.Name, source.Name == TensorNames.Embedding).ToArray() ?? [];
        int width = (int)source.Shape[1], at = 0;
        long start = Stopwatch.GetTimestamp();
        foreach (TensorView part in theirs.Parts)
        {
            int rowBytes = (int)part.DType.ByteCount([width]), rows = (int)part.Shape[0], offset = at;
            Parallel.For(0, (rows + 63) / 64, task =>
            {
                int first = offset + (task * 64), count = Math.Min(64, offset + rows - first);
                byte[] blocks = new byte[count * rowBytes];
                BlockFormats.Quantize(part.DType, before.AsSpan(first * width, count * width), blocks, columns);
                BlockFormats.Dequantize(part.DType, blocks, our.AsSpan(first * width, count * width));
            });
            at += rows;
        }

        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        double theirError = 0, ourError = 0, energy = 0;
        for (int i = 0; i < before.Length; i++)
        {
            double weight = columns is [] ? 1 : columns[i % width];
            theirError += weight * Math.Pow((double)before[i] - their[i], 2);
            ourError += weight * Math.Pow((double)before[i] - our[i], 2);
            energy += weight * before[i] * before[i];
        }

        return new Matrix(theirError, ourError, energy, seconds);
    }

    static void Perplexities(LlamaCpp llama, string plain, string work, ImportanceWeights importance, string held, int tokens)
    {
        string theirs = Path.Combine(work, "theirs.gguf"), ours = Path.Combine(work, "ours.gguf"), matrix = Path.Combine(work, "importance.dat");
        using var source = Checkpoint.Open(plain);
        using var text = new ModelDivergence(plain, held, tokens);
        Console.WriteLine($"On {text.Tokens:N0} held-out tokens; all files are run by the same runtime, in its kernels for their types.");
        Console.WriteLine();
        Console.WriteLine("| recipe | importance | KL divergence from F32, llama.cpp's file | ours | top-1 agreement, llama.cpp's file | ours | perplexity, llama.cpp's file | ours | log perplexity, ours less llama.cpp's (± standard error) |");
        Console.WriteLine("|---|---|---|---|---|---|---|---|---|");
        foreach (string recipe in new[] { "Q8_0", "Q6_K", "Q4_K_M", "Q4_0" })
        {
            foreach (bool calibrated in new[] { false, true })
            {
                // llama.cpp mixes Q4_1 into Q4_0 where it has importance; told not to, both store the same types.
                string[] options = calibrated ? ["--imatrix", matrix] : [];
                llama.Quantize(plain, theirs, recipe, recipe == "Q4_0" ? [.. options, "--tensor-type", "ffn_down=q4_0"] : options);
                QuantizedModel.Create(source, QuantizationRecipe.Parse(recipe), calibrated ? importance : null).Write(ours, overwrite: true);
                RequireSameTypes(theirs, ours);
                if (text.Of(theirs, ours) is [var their, var our])
                {
                    (double mean, double error) = our.LossAbove(their);
                    Console.WriteLine($"| {recipe} | {(calibrated ? "yes" : "no")} | {their.MeanDivergence:F5} | {our.MeanDivergence:F5} | {their.Agreement:P2} | {our.Agreement:P2} | {their.Perplexity:F3} | {our.Perplexity:F3} | {mean:+0.0000;-0.0000} ± {error:F4} |");
                }
            }
        }

        Console.WriteLine();
        Console.WriteLine($"Perplexity in F32: {text.PerplexityBefore:F3}.");
    }

    static void RequireSameTypes(string theirs, string ours)
    {
        using Checkpoint a = Checkpoint.Open(theirs), b = Checkpoint.Open(ours);
        foreach ((string name, StoredWeight weight) in a.Weights)
        {
            if (!weight.Parts.Select(part => part.DType).SequenceEqual(b.Weights[name].Parts.Select(part => part.DType)))
            {
                throw new InvalidOperationException($"{name} is {weight.Parts[0].DType} in llama.cpp's file and {b.Weights[name].Parts[0].DType} in ours.");
            }
        }
    }

    static int[] Tokens(TextModel model, string path, int limit)
    {
        int[] tokens = model.RequireTokenizer("The comparison").Encode(File.ReadAllText(path));
        return tokens[..Math.Min(limit, tokens.Length)];
    }

    readonly record struct Matrix(double Theirs, double Ours, double Energy, double Seconds)
    {
        public double Ratio => Math.Sqrt(Ours / Theirs);
    }
}
