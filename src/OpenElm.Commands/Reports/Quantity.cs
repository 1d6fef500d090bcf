using System.Globalization;

namespace OpenElm.Commands;

/// <summary>Numbers as a person reads them.</summary>
internal static class Quantity
{
    static readonly string[] Units = ["B", "KiB", "MiB", "GiB", "TiB"];

    /// <summary>Bytes in the largest unit that keeps the number above one: <c>2.53 GiB</c>.</summary>
    public static string Bytes(long bytes)
    {
        int unit = bytes < 1024 ? 0 : Math.Min(Units.Length - 1, (int)Math.Log(bytes, 1024));
        return unit == 0 ? $"{bytes} B" : string.Create(CultureInfo.InvariantCulture, $"{bytes / Math.Pow(1024, unit):0.##} {Units[unit]}");
    }
}
