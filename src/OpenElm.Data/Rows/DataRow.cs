namespace OpenElm.Data.Rows;

/// <summary>A row of a data set: what templates see, and where it stands.</summary>
/// <param name="Values">By column: null, bool, long, double, string, <c>List&lt;object?&gt;</c> and <c>Dictionary&lt;string, object?&gt;</c>.</param>
/// <param name="File">The file, with the member of a zip file behind <c>!</c>.</param>
/// <param name="Number">Its place in the file, from 1; a line of JSON lines.</param>
internal sealed record DataRow(Dictionary<string, object?> Values, string File, long Number)
{
    /// <summary>A problem of this row.</summary>
    /// <param name="what">Follows the place: <c>has no column 'question'</c>.</param>
    /// <param name="cause">What it was noticed by.</param>
    /// <returns>To be thrown.</returns>
    public OpenElmException Wrong(string what, Exception? cause = null)
    {
        string message = $"{File} row {Number} {what}";
        return cause is null ? new OpenElmException(message) : new OpenElmException(message, cause);
    }

    /// <summary>A column that is needed.</summary>
    /// <typeparam name="T">What it must hold.</typeparam>
    /// <param name="column">Its name.</param>
    /// <returns>The value.</returns>
    public T Take<T>(string column)
        where T : class =>
        !Values.TryGetValue(column, out object? value) ? throw Wrong($"has no column '{column}'; its columns are {string.Join(", ", Values.Keys)}.")
        : value as T ?? throw Wrong($"holds {Kind(value)} in column '{column}', not {(typeof(T) == typeof(string) ? "text" : "a list")}.");

    /// <summary>A column that must hold more than blanks.</summary>
    /// <param name="column">Its name.</param>
    /// <returns>The text.</returns>
    public string TakeFilled(string column) => Take<string>(column) is var text && string.IsNullOrWhiteSpace(text) ? throw Wrong($"has an empty '{column}'.") : text;

    /// <summary>Whether all columns are equal, as Python compares two documents.</summary>
    /// <param name="other">The other row.</param>
    /// <returns>Whether they are.</returns>
    public bool HasSameValues(DataRow other) => AreEqual(Values, other.Values);

    static bool AreEqual(object? a, object? b) => (a, b) switch
    {
        (List<object?> x, List<object?> y) => x.Count == y.Count && x.Zip(y).All(pair => AreEqual(pair.First, pair.Second)),
        (Dictionary<string, object?> x, Dictionary<string, object?> y) => x.Count == y.Count && x.All(entry => y.TryGetValue(entry.Key, out object? value) && AreEqual(entry.Value, value)),
        _ => Equals(a, b),
    };

    /// <summary>What messages call a value.</summary>
    /// <param name="value">The value.</param>
    /// <returns>Two or three words.</returns>
    public static string Kind(object? value) => value switch
    {
        null => "nothing",
        string => "text",
        bool => "a truth value",
        long or double => "a number",
        List<object?> => "a list",
        _ => "an object",
    };
}
