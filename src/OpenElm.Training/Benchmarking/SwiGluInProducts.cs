namespace OpenElm.Training.Benchmarking;

/// <summary>Where matrix products on the GPU have SwiGLU in their last step, because that is faster than a kernel of its own.</summary>
/// <param name="Forward">Layers whose product for gates and ups has it.</param>
/// <param name="Backward">Layers whose product for SwiGLU's gradient has its gradient.</param>
/// <param name="Layers">All layers.</param>
/// <param name="ApartMilliseconds">Of those products and kernels of their own in an update, each timed alone.</param>
/// <param name="Milliseconds">Of the products that have it.</param>
public sealed record SwiGluInProducts(int Forward, int Backward, int Layers, double ApartMilliseconds, double Milliseconds);
