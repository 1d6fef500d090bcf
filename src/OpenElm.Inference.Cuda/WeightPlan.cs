using System.Collections.Immutable;
using OpenElm.Configuration;

namespace OpenElm.Inference.Cuda;

/// <summary>Where one weight lies.</summary>
/// <param name="Offset">Bytes before it.</param>
/// <param name="Rows">Its outputs; 1 for a norm.</param>
/// <param name="Elements">All of it.</param>
/// <param name="IsBf16">Whether it is kept as bfloat16; norms are not.</param>
/// <param name="Format">How it is kept, if packed.</param>
internal readonly record struct WeightPlace(long Offset, int Rows, long Elements, bool IsBf16, PackedFormat Format)
{
    /// <summary>Its size.</summary>
    public long Bytes => Format == PackedFormat.Plain ? Elements * (IsBf16 ? 2 : 4) : PackedRows.Bytes(Format, Elements);
}

/// <summary>The places of all weights in one piece of device memory, in the order in which a token reads them, each at a multiple of 256 bytes.</summary>
/// <param name="Places">By CoreNet's name, and <see cref="Head"/>.</param>
/// <param name="Bytes">Of the whole.</param>
/// <param name="TokenBytes">Of the matrices that a token reads whole.</param>
internal sealed record WeightPlan(ImmutableDictionary<string, WeightPlace> Places, long Bytes, long TokenBytes)
{
    /// <summary>The name of the head, tied or not.</summary>
    public const string Head = "head";

    const int Alignment = 256;

    /// <summary>Plans a model's memory.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="precision">How matrices are kept.</param>
    /// <param name="embeddingApart">Whether a tied embedding differs from the head, because an adapter changes it alone or the head is packed.</param>
    /// <param name="formatOf">By CoreNet's name or <see cref="Head"/>: how a matrix is kept; null packs none.</param>
    /// <returns>The plan.</returns>
    public static WeightPlan Of(OpenElmConfig config, CudaPrecision precision, bool embeddingApart, Func<string, PackedFormat>? formatOf = null)
    {
        var places = ImmutableDictionary.CreateBuilder<string, WeightPlace>();
        long end = 0, read = 0;
        foreach (TensorShape tensor in TensorShapes.Of(config))
        {
            if (tensor.Name == TensorNames.Embedding && config.ShareInputOutputLayers)
            {
                Add(Head, tensor, isRead: true);
                if (embeddingApart)
                {
                    Add(tensor.Name, tensor, isRead: false);
                }
            }
            else
            {
                Add(tensor.Name == TensorNames.Classifier ? Head : tensor.Name, tensor, isRead: tensor.Shape.Length == 2 && tensor.Name != TensorNames.Embedding);
            }
        }

        return new WeightPlan(places.ToImmutable(), end, read);

        void Add(string name, TensorShape tensor, bool isRead)
        {
            bool isMatrix = tensor.Shape.Length == 2;
            var place = new WeightPlace(end, isMatrix ? checked((int)tensor.Shape[0]) : 1, tensor.Elements, isMatrix && precision == CudaPrecision.Bf16, isMatrix ? formatOf?.Invoke(name) ?? PackedFormat.Plain : PackedFormat.Plain);
            places.Add(name, place);
            end += (place.Bytes + Alignment - 1) / Alignment * Alignment;
            read += isRead ? place.Bytes : 0;
        }
    }
}
