using OpenElm.Diagnostics;
using OpenElm.Training.Torch;

namespace OpenElm.Cli;

/// <summary>The output of <c>openelm info</c> without a model: what results on this machine depend on.</summary>
/// <param name="Machine">Runtime and processor.</param>
/// <param name="Torch">The libtorch that training uses; null where none loads.</param>
/// <param name="TorchProblem">Why none loads.</param>
internal sealed record EnvironmentReport(Machine Machine, TorchDescription? Torch, string? TorchProblem)
{
    public static EnvironmentReport Current(TorchOptions options)
    {
        Machine machine = Machine.Current();
        try
        {
            TorchLibrary.EnsureLoaded(options);
            return new EnvironmentReport(machine, TorchLibrary.Describe(), null);
        }
        catch (OpenElmException problem)
        {
            return new EnvironmentReport(machine, null, problem.Message); // inference works without it
        }
    }

    public void Write(CommandContext context)
    {
        if (context.IsJson)
        {
            context.WriteJson(this);
            return;
        }

        var table = new TextTable("what", "value");
        table.Add("openelm", Machine.Version);
        table.Add("runtime", Machine.Runtime);
        table.Add("system", $"{Machine.OperatingSystem} ({Machine.Architecture})");
        table.Add("processor", Machine.Cpu);
        table.Add("cores", $"{Machine.Cores}");
        table.Add("memory", Quantity.Bytes(Machine.MemoryBytes));
        table.Add("vectors", $"{Machine.VectorBits} bits: {string.Join(' ', Machine.CpuFeatures)}");
        table.Add("garbage collector", Machine.GarbageCollector);
        if (Torch is not null)
        {
            table.Add("libtorch", $"{Torch.Version} in {Torch.Folder}");
            table.Add("libtorch's shim", Torch.Shim + (Torch.ShimPatched ? " (a copy that accepts this system's C++ library)" : ""));
            table.Add("libtorch on the CPU", $"{Torch.Blas}, {Torch.Threads} threads");
            table.Add("CUDA", Torch.CudaAvailable ? $"{Torch.CudaDevices} devices" : "not available");
        }

        table.WriteTo(context.Output);
        if (TorchProblem is not null)
        {
            context.Output.WriteLine("Training is not possible here: " + TorchProblem);
        }
    }
}
