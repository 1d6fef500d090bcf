using System.CommandLine;
using OpenElm.Diagnostics;
using OpenElm.Training.Torch;

namespace OpenElm.Cli;

/// <summary>The output of <c>openelm info</c> without a model: what results on this machine depend on, training included.</summary>
/// <param name="Machine">Runtime and processor.</param>
/// <param name="Kernels">The kernel sets of inference that run here, fastest first.</param>
/// <param name="Torch">The libtorch that training uses; null where none loads.</param>
/// <param name="TorchProblem">Why none loads.</param>
internal sealed record EnvironmentReport(Machine Machine, IReadOnlyList<string> Kernels, TorchDescription? Torch, string? TorchProblem)
{
    /// <summary>Makes the verb <c>info</c> of a program that can train.</summary>
    /// <param name="context">Where to write.</param>
    /// <returns>The verb.</returns>
    public static Command CreateInfoCommand(CommandContext context)
    {
        Option<string?> torchFolder = SharedOptions.TorchFolder();
        return InfoCommand.Create(context, [torchFolder], parsed => Current(new TorchOptions { Folder = parsed.GetValue(torchFolder) }).Write(context));
    }

    static EnvironmentReport Current(TorchOptions options)
    {
        MachineReport machine = MachineReport.Current();
        try
        {
            TorchLibrary.EnsureLoaded(options);
            return new EnvironmentReport(machine.Machine, machine.Kernels, TorchLibrary.Describe(), null);
        }
        catch (OpenElmException problem)
        {
            return new EnvironmentReport(machine.Machine, machine.Kernels, null, problem.Message); // inference works without it
        }
    }

    void Write(CommandContext context)
    {
        if (context.IsJson)
        {
            context.WriteJson(this);
            return;
        }

        TextTable table = new MachineReport(Machine, Kernels).ToTable();
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
