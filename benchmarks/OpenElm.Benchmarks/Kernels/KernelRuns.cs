using System.Diagnostics;
using OpenElm.Inference.Kernels;
using OpenElm.Inference.Tiles;

namespace OpenElm.Benchmarks.Kernels;

/// <summary>
/// Products of every kernel set with every tile format in the shapes of the 270M and 1.1B models:
/// <c>kernels [threads=1,2] [rounds=9] [prompt=512] [sets=a,b] [formats=Int8,…] [shapes=0,3]</c>. One row of activations over more weights than the caches hold is
/// compared with plain reading of the same memory, many rows with multiplying registers; all cases take turns, medians (and the best) count.
/// </summary>
internal static unsafe class KernelRuns
{
    const long LeastBytes = 96L << 20;

    static readonly (string Name, int Rows, int Columns)[] Shapes =
    [
        ("270M qkv", 1536, 1280), ("270M out", 1280, 1024), ("270M up", 5632, 1280), ("270M down", 1280, 2816), ("270M head", 32000, 1280),
        ("1.1B qkv", 3072, 2048), ("1.1B up", 9216, 2048), ("1.1B down", 2048, 4608),
    ];

    public static int Run(string[] args)
    {
        var options = args.Select(arg => arg.Split('=')).ToDictionary(pair => pair[0], pair => pair[^1]);
        int[] threads = [.. Option("threads", "1,2").Split(',').Select(int.Parse)];
        int rounds = int.Parse(Option("rounds", "9"));
        int[] prompts = [.. Option("prompt", "512").Split(',').Select(int.Parse).Where(rows => rows > 0)];
        CpuKernels[] sets = [.. CpuKernels.Available.Where(set => set.Name != "reference" && Option("sets", set.Name).Split(',').Contains(set.Name))];
        TileFormat[] formats = [.. Enum.GetValues<TileFormat>().Where(format => Option("formats", $"{format}").Split(',').Contains($"{format}"))];
        int[] shapes = [.. Option("shapes", "2,3,6,7").Split(',').Select(int.Parse)];
        Console.WriteLine("set          format      shape          threads  rows   median     best   of limit (median, best)");
        foreach (int shape in shapes)
        {
            foreach (TileFormat format in formats)
            {
                foreach (int team in threads)
                {
                    Measure(sets, format, Shapes[shape], team, rounds, prompts);
                }
            }
        }

        return 0;

        string Option(string name, string otherwise) => options.GetValueOrDefault(name, otherwise);
    }

    static void Measure(CpuKernels[] sets, TileFormat format, (string Name, int Rows, int Columns) shape, int threads, int rounds, int[] prompts)
    {
        if (format is TileFormat.Int4K or TileFormat.Int6K && shape.Columns % 256 != 0)
        {
            return;
        }

        var matrix = new LabMatrix(format, shape.Rows, shape.Columns, LeastBytes);
        int width = matrix.Copies[0].Tiles * TileFormats.Rows, most = prompts.Append(1).Max();
        float* y = (float*)LabMatrix.Allocate((long)width * most * 4);
        var forms = sets.Select(set => set.Products.FormFor(format)).Distinct().ToDictionary(form => form, form => LabMatrix.Activations(most, shape.Columns, form, format));

        var cases = new List<(string Set, int Rows, double Work, Action<int> Part, List<double> Rates)>
        {
            ("read", 1, matrix.Bytes / 1e9, part => Limits.Read((byte*)matrix.Memory + (matrix.Bytes / threads * part), matrix.Bytes / threads), []),
            ("multiply", 2, 24 * 20_000.0 * threads * Limits.Multiply(format, 1) / 24 / 1e9, part => Limits.Multiply(format, 20_000), []),
        };
        foreach (CpuKernels set in sets)
        {
            ActivationRows x = forms[set.Products.FormFor(format)];
            cases.Add((set.Name, 1, matrix.Bytes / 1e9, part => Products(set, matrix.Copies, part, threads, x, 1, y, width), []));
            foreach (int rows in prompts)
            {
                TileMatrix[] some = matrix.Copies[..Math.Clamp((int)(3e8 / ((double)shape.Rows * shape.Columns * rows)), 1, matrix.Copies.Length)];
                cases.Add((set.Name, rows, some.Length * (double)shape.Rows * shape.Columns * rows / 1e9, part => Products(set, some, part, threads, x, rows, y, width), []));
            }
        }

        using var team = new Team(threads);
        for (int round = -1; round < rounds; round++) // the first warms up
        {
            foreach ((_, _, double work, Action<int> part, List<double> rates) in cases)
            {
                double seconds = team.Run(part);
                if (round >= 0)
                {
                    rates.Add(work / seconds);
                }
            }
        }

        foreach ((string set, int rows, _, _, List<double> rates) in cases)
        {
            List<double> limit = cases[rows == 1 ? 0 : 1].Rates;
            (double median, double best, double most1, double most2) = (Median(rates), rates.Max(), Median(limit), limit.Max());
            Console.WriteLine($"{set,-12} {format,-11} {shape.Name,-12} {threads,7} {rows,6} {median,8:f1} {best,8:f1} {(rows == 1 ? "GB/s  " : "GMAC/s")} {median / most1,6:p0} {best / most2,6:p0}");
        }

        matrix.Free();
    }

    static void Products(CpuKernels set, TileMatrix[] matrices, int part, int parts, ActivationRows x, int rows, float* y, int width)
    {
        foreach (TileMatrix matrix in matrices)
        {
            set.Products.MatMul(matrix, matrix.Tiles * part / parts, matrix.Tiles * (part + 1) / parts, x, rows, y, width, false);
        }
    }

    static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);

    /// <summary>Threads that begin together.</summary>
    sealed class Team : IDisposable
    {
        readonly Barrier _start, _end;
        readonly int _threads;
        Action<int>? _job;

        public Team(int threads)
        {
            _threads = threads;
            _start = new Barrier(threads);
            _end = new Barrier(threads);
            for (int i = 1; i < threads; i++)
            {
                int part = i;
                var thread = new Thread(() => Follow(part)) { IsBackground = true };
                thread.Start();
            }
        }

        void Follow(int part)
        {
            while (true)
            {
                _start.SignalAndWait();
                if (_job is null)
                {
                    return;
                }

                _job(part);
                _end.SignalAndWait();
            }
        }

        public double Run(Action<int> job)
        {
            _job = job;
            _start.SignalAndWait();
            long start = Stopwatch.GetTimestamp();
            job(0);
            _end.SignalAndWait();
            return Stopwatch.GetElapsedTime(start).TotalSeconds;
        }

        public void Dispose()
        {
            _job = null;
            _start.SignalAndWait();
        }
    }
}
