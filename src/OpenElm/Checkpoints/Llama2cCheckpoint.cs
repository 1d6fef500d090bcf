using System.Numerics;
using System.Runtime.InteropServices;
using OpenElm.Configuration;

namespace OpenElm.Checkpoints;

/// <summary>
/// Reads a llama2.c checkpoint (version 0: seven int32, then float32 matrices, each kind for all layers) as an OpenELM of
/// uniform widths: Q, K and V become one matrix, and so do gate and up. llama2.c rotates neighbouring elements of a head,
/// OpenELM element k with k + headDim/2, so the rows of Q and K change places; the products stay the same.
/// </summary>
public static class Llama2cCheckpoint
{
    const int HeaderBytes = 7 * sizeof(int);

    // llama2.c's epsilon and base are constants of its program.
    const double Epsilon = 1e-5, RopeBase = 10000;

    /// <summary>Reads a checkpoint.</summary>
    /// <param name="path">The <c>.bin</c> file.</param>
    /// <returns>Architecture and weights, without a tokenizer.</returns>
    /// <exception cref="OpenElmException">The file is missing, damaged, or no model that fits.</exception>
    public static ModelContent Read(string path)
    {
        byte[] bytes;
        try
        {
            bytes = File.ReadAllBytes(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new OpenElmException($"Cannot read the checkpoint {path}: {e.Message}", e);
        }

        if (bytes.Length < HeaderBytes)
        {
            throw new OpenElmException($"{path} is {bytes.Length} bytes long; a llama2.c checkpoint begins with {HeaderBytes} bytes of sizes.");
        }

        ReadOnlySpan<int> header = MemoryMarshal.Cast<byte, int>(bytes.AsSpan(0, HeaderBytes));
        var sizes = new Sizes(header[0], header[1], header[2], header[3], header[4], Math.Abs(header[5]), header[6], IsTied: header[5] > 0);
        OpenElmConfig config = sizes.ToConfig(path);
        var reader = new FloatReader(MemoryMarshal.Cast<byte, float>(bytes.AsSpan(HeaderBytes)).ToArray());
        if (sizes.Floats != reader.Length)
        {
            throw new OpenElmException($"{path} holds {reader.Length} numbers; its header implies {sizes.Floats}. It is truncated, or no llama2.c checkpoint of version 0.");
        }

        return new ModelContent(config, Weights(config, sizes, reader));
    }

    static List<TensorSource> Weights(OpenElmConfig config, Sizes sizes, FloatReader reader)
    {
        int d = sizes.Dim, kv = sizes.KvHeads * sizes.HeadDim;
        ReadOnlyMemory<float> embedding = reader.Next(sizes.Vocab * d);
        ReadOnlyMemory<float>[] attnNorm = reader.Layers(sizes.Layers, d), wq = reader.Layers(sizes.Layers, d * d), wk = reader.Layers(sizes.Layers, kv * d);
        ReadOnlyMemory<float>[] wv = reader.Layers(sizes.Layers, kv * d), wo = reader.Layers(sizes.Layers, d * d), ffnNorm = reader.Layers(sizes.Layers, d);
        ReadOnlyMemory<float>[] w1 = reader.Layers(sizes.Layers, sizes.Hidden * d), w2 = reader.Layers(sizes.Layers, d * sizes.Hidden), w3 = reader.Layers(sizes.Layers, sizes.Hidden * d);
        ReadOnlyMemory<float> finalNorm = reader.Next(d);
        reader.Next(sizes.RopeTables);
        var values = new Dictionary<string, ReadOnlyMemory<float>> { [TensorNames.Embedding] = embedding, [TensorNames.FinalNorm] = finalNorm };
        if (!sizes.IsTied)
        {
            values[TensorNames.Classifier] = reader.Next(sizes.Vocab * d);
        }

        for (int i = 0; i < sizes.Layers; i++)
        {
            values[TensorNames.Layer(i, "attn_norm")] = attnNorm[i];
            values[TensorNames.Layer(i, "attn.qkv_proj")] = Stack(SplitHalves(wq[i].Span, sizes.HeadDim, d), SplitHalves(wk[i].Span, sizes.HeadDim, d), wv[i].Span);
            values[TensorNames.Layer(i, "attn.out_proj")] = wo[i];
            values[TensorNames.Layer(i, "ffn_norm")] = ffnNorm[i];
            values[TensorNames.Layer(i, "ffn.proj_1")] = Stack(w1[i].Span, w3[i].Span, []); // gate, then up
            values[TensorNames.Layer(i, "ffn.proj_2")] = w2[i];
        }

        return [.. TensorShapes.Of(config).Select(shape => TensorSource.Of(shape.Name, shape.Shape, values[shape.Name]))];
    }

    static float[] Stack(ReadOnlySpan<float> first, ReadOnlySpan<float> second, ReadOnlySpan<float> third) => [.. first, .. second, .. third];

    // In each head, row 2k goes to k and row 2k + 1 to k + headDim/2.
    static float[] SplitHalves(ReadOnlySpan<float> weight, int headDim, int columns)
    {
        float[] reordered = new float[weight.Length];
        for (int row = 0; row < weight.Length / columns; row++)
        {
            int inHead = row % headDim;
            int target = row - inHead + (inHead / 2) + (inHead % 2 * headDim / 2);
            weight.Slice(row * columns, columns).CopyTo(reordered.AsSpan(target * columns));
        }

        return reordered;
    }

    readonly record struct Sizes(int Dim, int Hidden, int Layers, int Heads, int KvHeads, int Vocab, int Context, bool IsTied)
    {
        public int HeadDim => Dim / Heads;

        public int RopeTables => 2 * Context * (HeadDim / 2);

        public long Floats => ((IsTied ? 1L : 2L) * Vocab * Dim) + Dim + RopeTables
            + (Layers * ((2L * Dim) + (2L * Dim * Dim) + (2L * KvHeads * HeadDim * Dim) + (3L * Hidden * Dim)));

        public OpenElmConfig ToConfig(string path)
        {
            if (new[] { Dim, Hidden, Layers, Heads, KvHeads, Vocab, Context }.Any(size => size is < 1 or > 1 << 20) || Dim % Heads != 0 || Heads % KvHeads != 0)
            {
                throw new OpenElmException($"{path} is no llama2.c checkpoint of version 0: its header says {this}.");
            }

            return new OpenElmConfig
            {
                VocabSize = Vocab,
                MaxContextLength = Context,
                RopeMaxLength = 2 * Context,
                NumTransformerLayers = Layers,
                ModelDim = Dim,
                HeadDim = HeadDim,
                QueryHeadsPerKvHead = Heads / KvHeads,
                FfnMultipliers = (double)Hidden / Dim,
                FfnDimDivisor = (int)BigInteger.GreatestCommonDivisor(Hidden, 256),
                ShareInputOutputLayers = IsTied,
                RopeFreqConstant = RopeBase,
                RmsNormEps = Epsilon,
            }.Validated();
        }
    }

    sealed class FloatReader(ReadOnlyMemory<float> floats)
    {
        int _position;

        public int Length => floats.Length;

        public ReadOnlyMemory<float> Next(int count)
        {
            _position += count;
            return floats.Slice(_position - count, count);
        }

        public ReadOnlyMemory<float>[] Layers(int layers, int count) => [.. Enumerable.Range(0, layers).Select(_ => Next(count))];
    }
}
