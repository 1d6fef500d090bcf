using OpenElm.Diagnostics;

namespace OpenElm.Cli;

/// <summary>The output of <c>openelm info</c> without a model: what results on this machine depend on.</summary>
/// <param name="Machine">Runtime and processor.</param>
internal sealed record EnvironmentReport(Machine Machine)
{
    public static EnvironmentReport Current() => new(Machine.Current());

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
        table.WriteTo(context.Output);
    }
}
