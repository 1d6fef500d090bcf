using System.CommandLine;
using OpenElm.Inference;
using OpenElm.Inference.Cuda;

namespace OpenElm.Commands;

/// <summary>Where inference computes: the processor, or a GPU with the processor to fall back to.</summary>
internal sealed class DeviceArguments
{
    const string Cpu = "cpu", Cuda = "cuda";

    readonly Option<string> _device = new("--device") { Description = "Where to compute: cpu, or cuda, which falls back to cpu and says why", DefaultValueFactory = _ => Cpu };
    readonly Option<CudaPrecision> _precision = new("--precision") { Description = "How a GPU keeps weights, keys and values: Bf16 or Fp32" };

    public void AddTo(Command command)
    {
        _device.AcceptOnlyFromAmong(Cpu, Cuda);
        command.Options.Add(_device);
        command.Options.Add(_precision);
    }

    /// <summary>Opens the device.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="context">Is told when the processor takes the GPU's place.</param>
    /// <returns>The GPU; null is the processor.</returns>
    public InferenceDevice? Open(ParseResult parsed, CommandContext context)
    {
        if (parsed.GetRequiredValue(_device) == Cpu)
        {
            return null;
        }

        CudaInferenceDevice? device = CudaInferenceDevice.TryOpen(parsed.GetValue(_precision), out string? reason);
        if (device is null)
        {
            context.Warn($"computing on the processor, for there is no usable GPU: {reason}");
        }

        return device;
    }
}
