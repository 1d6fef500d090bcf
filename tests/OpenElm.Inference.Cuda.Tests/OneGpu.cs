namespace OpenElm.Inference.Cuda.Tests;

/// <summary>Tests that launch kernels run one after another: there is one GPU, and the emulated one knows one kernel at a time.</summary>
[CollectionDefinition(nameof(OneGpu))]
public sealed class OneGpu;
