using System.Globalization;

namespace OpenElm.Cuda;

/// <summary>
/// Which of several ways to a result was fastest, by what is computed (a <see cref="ProductShape"/> and cuBLASLt's proposals for it, above all), kept in a file for one GPU and one version of the library: later runs make
/// the same choices, so they do not search again and their sums have the same order.
/// </summary>
internal sealed class ProductChoices
{
    readonly string _file;
    readonly Dictionary<string, (int Chosen, float First, float Best)> _known = [];
    bool _hasChanged;

    public ProductChoices(string deviceName)
    {
        string device = string.Concat(deviceName.Select(letter => char.IsLetterOrDigit(letter) ? letter : '-'));
        _file = Path.Combine(KernelCompiler.CacheFolder, string.Create(CultureInfo.InvariantCulture, $"products-{device}-{MatrixProducts.Version}.tsv"));
        if (!File.Exists(_file))
        {
            return;
        }

        foreach (string[] cells in File.ReadLines(_file).Select(line => line.Split('\t')))
        {
            if (cells is [var shape, var chosen, var first, var best])
            {
                _known[shape] = (int.Parse(chosen, CultureInfo.InvariantCulture), float.Parse(first, CultureInfo.InvariantCulture), float.Parse(best, CultureInfo.InvariantCulture));
            }
        }
    }

    /// <summary>Finds an earlier choice.</summary>
    public bool TryGet(string what, out (int Chosen, float First, float Best) choice) => _known.TryGetValue(what, out choice);

    /// <summary>Notes a choice.</summary>
    public void Add(string what, int chosen, float first, float best) => (_known[what], _hasChanged) = ((chosen, first, best), true);

    /// <summary>Writes the file, if there is something new and the folder can be written.</summary>
    public void Save()
    {
        if (_hasChanged)
        {
            KernelCompiler.Keep(_file, System.Text.Encoding.UTF8.GetBytes(string.Concat(_known.OrderBy(entry => entry.Key, StringComparer.Ordinal).Select(entry =>
                string.Create(CultureInfo.InvariantCulture, $"{entry.Key}\t{entry.Value.Chosen}\t{entry.Value.First}\t{entry.Value.Best}\n")))));
            _hasChanged = false;
        }
    }
}
