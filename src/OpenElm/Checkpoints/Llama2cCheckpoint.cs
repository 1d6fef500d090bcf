using System.Collections.Immutable;
using System.Numerics;
using System.Runtime.InteropServices;
using OpenElm.Configuration;

namespace OpenElm.Checkpoints;

/// <summary>
/// Opens a llama2.c checkpoint (version 0: seven int32, then float32 matrices, each kind for all layers) as an OpenELM of
/// uniform widths: Q, K and V are parts of one matrix, and so are gate and up. llama2.c rotates neighbouring elements of a
/// head, OpenELM element k with k + headDim/2, so the rows of Q and K change places; the products stay the same.
/// </summary>
public static class Llama2cCheckpoint
{
    const int HeaderBytes = 7 * sizeof(int);

    // llama2.c's epsilon and base are constants of its program.
    const double Epsilon = 1e-5, RopeBase = 10000;

    /// <summary>Opens a checkpoint; all weights but Q and K are mapped.</summary>
    /// <param name="path">The <c>.bin</c> file.</param>
    /// <returns>The checkpoint, without a tokenizer.</returns>
    /// <exception cref="OpenElmException">The file is missing, damaged, or no model that fits.</exception>
    public static Checkpoint Open(string path)
    {
        var file = MappedFile.Open(path);
        var owned = new List<IDisposable> { file };
        try
        {
            Sizes sizes = ReadSizes(file);
            if (!sizes.ArePossible)
            {
                throw new OpenElmException($"{path} is no llama2.c checkpoint of version 0: its header says {sizes}.");
            }

            if (HeaderBytes + (sizes.Floats * sizeof(float)) != file.Length)
            {
                throw new OpenElmException($"{path} is {file.Length} bytes long; its header implies {sizes.Floats} numbers. It is truncated, or no llama2.c checkpoint of version 0.");
            }

            OpenElmConfig config = sizes.ToConfig();
            return new Checkpoint(path, CheckpointFormat.Llama2c, config, WeightMatching.Match(path, "header", config, [.. Weights(sizes, file, owned)]), [.. owned]);
        }
        catch
        {
            owned.ForEach(owner => owner.Dispose());
            throw;
        }
    }

    /// <summary>Whether a file begins as such a checkpoint: the format has no magic number.</summary>
    /// <param name="file">The file.</param>
    /// <returns>Whether <see cref="Open"/> has the better explanation of what is wrong with it.</returns>
    internal static bool Begins(MappedFile file) => file.Length >= HeaderBytes && ReadSizes(file).ArePossible;

    static Sizes ReadSizes(MappedFile file)
    {
        if (file.Length < HeaderBytes)
        {
            throw new OpenElmException($"{file.Path} is {file.Length} bytes long; a llama2.c checkpoint begins with {HeaderBytes} bytes of sizes.");
        }

        ReadOnlySpan<int> header = MemoryMarshal.Cast<byte, int>(file.Bytes(0, HeaderBytes));
        return new Sizes(header[0], header[1], header[2], header[3], header[4], Math.Max(header[5], -header[5]), header[6], IsTied: header[5] > 0);
    }

    static IEnumerable<StoredWeight> Weights(Sizes sizes, MappedFile file, List<IDisposable> owned)
    {
        int d = sizes.Dim, kv = sizes.KvHeads * sizes.HeadDim, hidden = sizes.Hidden, layers = sizes.Layers;
        var reader = new TensorReader(file);
        TensorView embedding = reader.Next("token_embedding", sizes.Vocab, d);
        TensorView[] attnNorm = reader.Layers("rms_att", layers, d), wq = reader.Layers("wq", layers, d, d), wk = reader.Layers("wk", layers, kv, d);
        TensorView[] wv = reader.Layers("wv", layers, kv, d), wo = reader.Layers("wo", layers, d, d), ffnNorm = reader.Layers("rms_ffn", layers, d);
        TensorView[] w1 = reader.Layers("w1", layers, hidden, d), w2 = reader.Layers("w2", layers, d, hidden), w3 = reader.Layers("w3", layers, hidden, d);
        TensorView finalNorm = reader.Next("rms_final", d);
        reader.Next("rope", sizes.RopeTables);
        yield return StoredWeight.Of(TensorNames.Embedding, embedding);
        yield return StoredWeight.Of(TensorNames.FinalNorm, finalNorm);
        if (!sizes.IsTied)
        {
            yield return StoredWeight.Of(TensorNames.Classifier, reader.Next("wcls", sizes.Vocab, d));
        }

        for (int i = 0; i < layers; i++)
        {
            yield return StoredWeight.Of(TensorNames.Layer(i, "attn_norm"), attnNorm[i]);
            yield return Stacked(TensorNames.Layer(i, "attn.qkv_proj"), SplitHalves(wq[i], sizes.HeadDim, owned), SplitHalves(wk[i], sizes.HeadDim, owned), wv[i]);
            yield return StoredWeight.Of(TensorNames.Layer(i, "attn.out_proj"), wo[i]);
            yield return StoredWeight.Of(TensorNames.Layer(i, "ffn_norm"), ffnNorm[i]);
            yield return Stacked(TensorNames.Layer(i, "ffn.proj_1"), w1[i], w3[i]); // gate, then up
            yield return StoredWeight.Of(TensorNames.Layer(i, "ffn.proj_2"), w2[i]);
        }
    }

    static StoredWeight Stacked(string name, params ImmutableArray<TensorView> parts) => new(name, [parts.Sum(part => part.Shape[0]), parts[0].Shape[1]], parts);

    // In each head, row 2k goes to k and row 2k + 1 to k + headDim/2.
    static TensorView SplitHalves(TensorView weight, int headDim, List<IDisposable> owned)
    {
        var copy = new NativeBytes(weight.ByteCount);
        owned.Add(copy);
        int rows = (int)weight.Shape[0], rowBytes = (int)weight.Shape[1] * sizeof(float);
        for (int row = 0; row < rows; row++)
        {
            int inHead = row % headDim;
            int target = row - inHead + (inHead / 2) + (inHead % 2 * headDim / 2);
            weight.Bytes.Slice(row * rowBytes, rowBytes).CopyTo(copy.Slice((long)target * rowBytes, rowBytes));
        }

        return weight with { Address = copy.Address };
    }

    readonly record struct Sizes(int Dim, int Hidden, int Layers, int Heads, int KvHeads, int Vocab, int Context, bool IsTied)
    {
        public int HeadDim => Dim / Heads;

        public int RopeTables => 2 * Context * (HeadDim / 2);

        public long Floats => ((IsTied ? 1L : 2L) * Vocab * Dim) + Dim + RopeTables
            + (Layers * ((2L * Dim) + (2L * Dim * Dim) + (2L * KvHeads * HeadDim * Dim) + (3L * Hidden * Dim)));

        // No released model comes near 2^15 of anything but pieces; the products of such sizes fit into 64 bits.
        public bool ArePossible => new[] { Dim, Hidden, Layers, Heads, KvHeads, Context }.All(size => size is >= 1 and < 1 << 15) && Vocab is >= 1 and < 1 << 20
            && Dim % Heads == 0 && Heads % KvHeads == 0;

        public OpenElmConfig ToConfig() => new OpenElmConfig
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

    sealed class TensorReader(MappedFile file)
    {
        long _position = HeaderBytes;

        public TensorView Next(string name, params ImmutableArray<long> shape)
        {
            long bytes = DType.F32.ByteCount(shape), at = _position;
            _position += bytes;
            return new TensorView(name, DType.F32, shape, file.AddressOf(at, bytes), bytes);
        }

        public TensorView[] Layers(string name, int layers, params ImmutableArray<long> shape) => [.. Enumerable.Range(0, layers).Select(_ => Next(name, shape))];
    }
}
