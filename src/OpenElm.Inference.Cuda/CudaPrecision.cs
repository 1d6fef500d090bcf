namespace OpenElm.Inference.Cuda;

/// <summary>How a GPU keeps weights, keys and values, and the activations of large products. Sums, norms and the residual stream are single precision.</summary>
public enum CudaPrecision
{
    /// <summary>bfloat16: half the bytes.</summary>
    Bf16,

    /// <summary>Single precision, for comparisons.</summary>
    Fp32,
}
