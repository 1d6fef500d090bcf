using OpenElm.Diagnostics;
using OpenElm.Inference;

namespace OpenElm.Commands;

/// <summary>The output of <c>info</c> without a model: what results on this machine depend on.</summary>
/// <param name="Machine">Runtime and processor.</param>
/// <param name="Kernels">The kernel sets that run here, fastest first.</param>
internal sealed record MachineReport(Machine Machine, IReadOnlyList<string> Kernels)
{
    public static MachineReport Current() => new(Machine.Current(), OpenElmModel.AvailableKernels);

    public void Write(CommandContext context)
    {
        if (context.IsJson)
        {
            context.WriteJson(this, CommandJson.Documents.MachineReport);
        }
        else
        {
            ToTable().WriteTo(context.Output);
        }
    }

    public TextTable ToTable()
    {
        var table = new TextTable("what", "value");
        table.Add("openelm", Machine.Version);
        table.Add("runtime", Machine.Runtime);
        table.Add("system", $"{Machine.OperatingSystem} ({Machine.Architecture})");
        table.Add("processor", Machine.Cpu);
        table.Add("cores", $"{Machine.Cores}");
        table.Add("memory", Quantity.Bytes(Machine.MemoryBytes));
        table.Add("vectors", $"{Machine.VectorBits} bits: {string.Join(' ', Machine.CpuFeatures)}");
        table.Add("kernels", string.Join(", ", Kernels));
        table.Add("garbage collector", Machine.GarbageCollector);
        return table;
    }
}
