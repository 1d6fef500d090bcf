using BenchmarkDotNet.Running;
using OpenElm.Benchmarks.Data;
using OpenElm.Benchmarks.Evaluation;
using OpenElm.Benchmarks.Formats;
using OpenElm.Benchmarks.Kernels;
using OpenElm.Benchmarks.Quantization;
using OpenElm.Benchmarks.Tokenization;
using OpenElm.Benchmarks.Training;

// Whole runs that a script times beside other programs have names of their own; everything else is BenchmarkDotNet's.
if (args is ["tokenizer", ..])
{
    return TokenizerRuns.Run(args[1..]);
}
if (args is ["data", ..])
{
    return DataRuns.Run(args[1..]);
}
if (args is ["training", ..])
{
    return TrainingStepBenchmark.Run(args[1..]);
}
if (args is ["tuning", ..])
{
    return TuningStepBenchmark.Run(args[1..]);
}
if (args is ["formats", ..])
{
    return FormatProof.Run(args[1..]);
}
if (args is ["kernels", ..])
{
    return KernelRuns.Run(args[1..]);
}
if (args is ["quantization", ..])
{
    return QuantizationComparison.Run(args[1..]);
}
if (args is ["evaluation", ..])
{
    return EvaluationRuns.Run(args[1..]);
}
BenchmarkSwitcher.FromAssembly(typeof(TokenizerRuns).Assembly).Run(args);
return 0;
