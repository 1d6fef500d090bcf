using OpenElm.Adapters;
using OpenElm.Training.Matrices;
using OpenElm.Training.Torch;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace OpenElm.Training.Adapters;

/// <summary>One adapter of one module, in tensors (openelm.md 8.2). Its tensors are in single precision whatever the model's type.</summary>
internal sealed class LowRankLayer : IDisposable
{
    const long NumbersAtOnce = 1 << 20;

    readonly AdapterSettings _settings;
    readonly Matrix _matrix; // the frozen base
    readonly ModuleOptions _options;
    readonly string _dropoutName;

    public LowRankLayer(AdapterSettings settings, AdaptedModule module, Matrix matrix, ModuleOptions options)
    {
        (_settings, Module, _matrix, _options) = (settings, module, matrix, options);
        (A, B, Magnitude) = (New(AdapterPart.A), New(AdapterPart.B), module.Dora ? New(AdapterPart.Magnitude) : null);
        _dropoutName = NameOf(AdapterPart.A);

        Parameter New(AdapterPart part)
        {
            Parameter tensor = Parameter(zeros([.. module.ShapeOf(part)], ScalarType.Float32, matrix.Device), requires_grad: settings.IsTrainable);
            tensor.DetachFromDisposeScope();
            return tensor;
        }
    }

    public AdaptedModule Module { get; }

    /// <summary>[rank, inputs].</summary>
    public Parameter A { get; }

    /// <summary>[outputs, rank].</summary>
    public Parameter B { get; }

    /// <summary>[outputs], or null without DoRA.</summary>
    public Parameter? Magnitude { get; }

    public bool IsEnabled => _settings.IsEnabled;

    public IEnumerable<NamedWeight> Tensors => Module.Parts.Select(part => new NamedWeight(NameOf(part), this[part]));

    double Scaling => Module.Scaling * _settings.Scale;

    Parameter this[AdapterPart part] => part switch { AdapterPart.A => A, AdapterPart.B => B, _ => Magnitude! };

    /// <summary>Draws the start of training; a magnitude starts as the length of the rows of the weight that is loaded.</summary>
    /// <param name="generator">On the CPU, so that the device does not change the numbers.</param>
    public void Initialize(Generator generator)
    {
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        if (Module.IsEmbedding)
        {
            A.zero_();
            B.copy_(empty(B.shape, ScalarType.Float32).normal_(0, 1, generator));
        }
        else
        {
            double bound = 1 / Math.Sqrt(Module.Inputs);
            Tensor drawn = empty(A.shape, ScalarType.Float32);
            A.copy_(Module.Initialization == AdapterInitialization.Gaussian ? drawn.normal_(0, 1.0 / Module.Rank, generator) : drawn.uniform_(-bound, bound, generator));
            B.zero_();
        }

        Magnitude?.copy_(RowNorms());
    }

    /// <summary>Adds what the adapter changes in a linear layer's output.</summary>
    /// <param name="x">[tokens, inputs] in the type of products.</param>
    /// <param name="product">[tokens, outputs]: W x.</param>
    /// <param name="y">The output so far: <paramref name="product"/> and what other adapters added. LoRA adds to it in place.</param>
    /// <returns>y + s · B·A·x', or for DoRA y + (m/n − 1) ⊙ W x' + (m/n) ⊙ s · B·A·x', where x' = dropout(x).</returns>
    public Tensor AddTo(Tensor x, Tensor product, Tensor y)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor masked = _settings.Dropout is { } key && Module.Dropout > 0 ? SeededDropout.apply(x, Module.Dropout, key.SeedOf(_dropoutName)) : x;
        Tensor down = functional.linear(masked, A.to_type(_options.ProductType)), up = B.to_type(_options.ProductType).t(); // [tokens, rank], [rank, outputs]
        if (Magnitude is null)
        {
            return y.addmm_(down, up, 1, (float)Scaling); // in place, and still in its owner's scope: a copy takes as long as the product
        }

        Tensor gain = (Magnitude / RowNorms()).to_type(_options.ProductType);                             // [outputs]
        Tensor plain = ReferenceEquals(masked, x) ? product : _matrix.Multiply(masked);                // W x'
        Tensor scaled = gain * plain.addmm(down, up, 1, (float)Scaling);
        return (ReferenceEquals(plain, y) ? scaled : scaled.Add(y).sub_(plain)).MoveToOuterDisposeScope(); // in place: no gradient needs the product itself
    }

    /// <summary>Adds what the adapter changes in rows of the embedding; there is no dropout.</summary>
    /// <param name="ids">[batch, seq].</param>
    /// <param name="y">[batch, seq, modelDim]: the rows so far.</param>
    /// <param name="paddingId">The row without a gradient, or null.</param>
    /// <returns>y + s · Aᵀ[ids] · Bᵀ.</returns>
    public Tensor AddRowsTo(Tensor ids, Tensor y, long? paddingId)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor rows = Dispatcher.Embedding(A.t(), ids, paddingId);                                        // [batch, seq, rank]
        return y.Plus((functional.linear(rows, B) * Number(Scaling)).to_type(y.dtype)).MoveToOuterDisposeScope();
    }

    /// <summary>What the adapter changes in the weight, in single precision: W' − W.</summary>
    /// <returns>[outputs, inputs], or [inputs, outputs] of the embedding.</returns>
    public Tensor WeightChange()
    {
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        Tensor product = matmul(B, A) * Number(Scaling);                                                  // [outputs, inputs]
        if (Module.IsEmbedding)
        {
            return product.t().contiguous().MoveToOuterDisposeScope(); // CoreNet's own merge forgets to transpose
        }

        if (Magnitude is null)
        {
            return product.MoveToOuterDisposeScope();
        }

        Tensor w = _matrix.Floats(0, _matrix.Rows);
        return (((Magnitude / RowNorms()).unsqueeze(-1) * w.Plus(product)) - w).MoveToOuterDisposeScope();
    }

    public string NameOf(AdapterPart part) => new AdapterTensor(Module.Name, Module.IsEmbedding, part, _settings.Name).ToCoreNet();

    public void Dispose()
    {
        A.Dispose();
        B.Dispose();
        Magnitude?.Dispose();
    }

    // ‖W + s·B·A‖ of every row, [outputs]; a constant for the backward pass. Some rows at a time, so that no second matrix exists.
    Tensor RowNorms()
    {
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        Tensor norms = empty([_matrix.Rows], ScalarType.Float32, _matrix.Device);
        long rows = Math.Max(1, NumbersAtOnce / Module.Inputs);
        for (long first = 0; first < _matrix.Rows; first += rows)
        {
            using DisposeScope chunk = NewDisposeScope();
            long count = Math.Min(rows, _matrix.Rows - first);
            norms.narrow(0, first, count).copy_(_matrix.Floats(first, count).addmm(B.narrow(0, first, count), A, alpha: (float)Scaling).square().sum(-1).sqrt_());
        }

        return norms.MoveToOuterDisposeScope();
    }
}
