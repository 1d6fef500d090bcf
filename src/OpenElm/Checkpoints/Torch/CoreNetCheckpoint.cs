using System.Collections.Immutable;
using OpenElm.Adapters;
using OpenElm.Configuration;

namespace OpenElm.Checkpoints.Torch;

/// <summary>
/// CoreNet's <c>.pt</c> files (section "CoreNet .pt" of the checkpoint documentation): a model's state dict, or a training
/// checkpoint that holds one under <c>model_state_dict</c>. They say no architecture; it is derived from the shapes.
/// </summary>
internal static class CoreNetCheckpoint
{
    const string StateDict = "model_state_dict";
    const string DistributedPrefix = "module."; // of a model that was saved inside DistributedDataParallel

    /// <summary>Opens an archive; tensors are mapped, unless their elements do not lie one after the other.</summary>
    /// <param name="zip">The archive; the checkpoint owns it, or this disposes it.</param>
    /// <param name="architecture">The architecture, or null to derive it.</param>
    /// <exception cref="OpenElmException">It is damaged, or holds no OpenELM.</exception>
    public static Checkpoint Open(StoredZip zip, OpenElmConfig? architecture)
    {
        string path = zip.File.Path;
        var copies = new List<NativeBytes>();
        try
        {
            (Dictionary<string, TorchTensor> tensors, bool isTraining) = Read(zip);
            bool isAdapted = tensors.Keys.Any(IsAdapters);
            tensors = isAdapted ? BaseOf(tensors) : tensors;
            OpenElmConfig config = WeightShapes.Complete(path, tensors.ToDictionary(pair => pair.Key, pair => pair.Value.Shape), architecture, out string note);
            var weights = WeightMatching.Match(path, architecture is null ? "derived architecture" : "named architecture", config,
                tensors.Select(pair => StoredWeight.Of(pair.Key, View(pair.Key, pair.Value, copies))));
            return new Checkpoint(path, CheckpointFormat.CoreNet, config, weights, [zip, .. copies])
            {
                Notes =
                [
                    .. isTraining ? ["A training checkpoint: its optimizer's state is left out."] : ImmutableArray<string>.Empty,
                    .. isAdapted ? ["A fine-tuned checkpoint: this is its base model without the adapter, which is read from the same file by that name (--adapter)."] : ImmutableArray<string>.Empty,
                    note,
                ],
            };
        }
        catch
        {
            copies.ForEach(copy => copy.Dispose());
            zip.Dispose();
            throw;
        }
    }

    static bool IsAdapters(string name) => AdapterTensor.TryParse(name, out _);

    // Behind an adapter, X.weight is called X.base_layer.weight.
    static Dictionary<string, TorchTensor> BaseOf(Dictionary<string, TorchTensor> tensors) =>
        tensors.Where(pair => !IsAdapters(pair.Key)).ToDictionary(pair => pair.Key.Replace(".base_layer.", ".", StringComparison.Ordinal), pair => pair.Value);

    /// <summary>Opens the tensors of a state dict, whatever they are of.</summary>
    /// <param name="zip">The archive; one of the owners that come back, or this disposes it.</param>
    /// <returns>The tensors by their names, and what must stay open while they are used.</returns>
    /// <exception cref="OpenElmException">It is damaged, or holds no state dict.</exception>
    public static (IReadOnlyDictionary<string, TensorView> Tensors, ImmutableArray<IDisposable> Owned) OpenTensors(StoredZip zip)
    {
        var copies = new List<NativeBytes>();
        try
        {
            var views = Read(zip).Tensors.ToDictionary(pair => pair.Key, pair => View(pair.Key, pair.Value, copies));
            return (views, [zip, .. copies]);
        }
        catch
        {
            copies.ForEach(copy => copy.Dispose());
            zip.Dispose();
            throw;
        }
    }

    static (Dictionary<string, TorchTensor> Tensors, bool IsTraining) Read(StoredZip zip)
    {
        string path = zip.File.Path;
        PickleDictionary root = TorchArchive.Read(zip) as PickleDictionary ?? throw new OpenElmException($"{path} holds no dictionary of weights.");
        bool isTraining = root[StateDict] is not null;
        PickleDictionary states = !isTraining ? root : root[StateDict] as PickleDictionary ?? throw new OpenElmException($"{path}: {StateDict} is no dictionary.");
        return (Tensors(path, states), isTraining);
    }

    static Dictionary<string, TorchTensor> Tensors(string path, PickleDictionary states)
    {
        var tensors = new Dictionary<string, TorchTensor>();
        foreach ((object key, object? value) in states.Entries)
        {
            if (key is not string name || value is not TorchTensor tensor)
            {
                throw new OpenElmException($"{path} is no state dict: its entry {key} is {value switch { null => "None", TorchTensor => "a tensor without a name", _ => value }}.");
            }

            tensors.Add(name, tensor);
        }

        return tensors.Count > 0 && tensors.Keys.All(name => name.StartsWith(DistributedPrefix, StringComparison.Ordinal))
            ? tensors.ToDictionary(pair => pair.Key[DistributedPrefix.Length..], pair => pair.Value)
            : tensors;
    }

    static unsafe TensorView View(string name, TorchTensor tensor, List<NativeBytes> copies)
    {
        DType dtype = tensor.Storage.DType;
        int size = dtype.Size();
        long elements = tensor.Shape.Aggregate(1L, (product, length) => product * length);
        if (tensor.IsContiguous)
        {
            return new TensorView(name, dtype, tensor.Shape, tensor.Storage.Address + (nint)(tensor.Offset * size), elements * size);
        }

        // A transposed or cut tensor: gathered, element by element.
        var copy = new NativeBytes(elements * size);
        copies.Add(copy);
        for (long i = 0; i < elements; i++)
        {
            long rest = i, at = tensor.Offset;
            for (int d = tensor.Shape.Length - 1; d >= 0; d--)
            {
                at += rest % tensor.Shape[d] * tensor.Strides[d];
                rest /= tensor.Shape[d];
            }

            Buffer.MemoryCopy((byte*)tensor.Storage.Address + (at * size), (byte*)copy.Address + (i * size), size, size);
        }

        return new TensorView(name, dtype, tensor.Shape, copy.Address, copy.Length);
    }
}
