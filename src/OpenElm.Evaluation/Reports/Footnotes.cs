namespace OpenElm.Evaluation.Reports;

/// <summary>Remarks below a table, each told once however many cells carry its mark.</summary>
internal sealed class Footnotes
{
    readonly List<string> _remarks = [];

    /// <summary>The marks of remarks, to stand behind a cell.</summary>
    /// <param name="remarks">The remarks.</param>
    /// <returns><c> [1] [2]</c>; empty for none.</returns>
    public string Marks(IEnumerable<string> remarks) => string.Concat(remarks.Distinct().Select(remark => $" [{Number(remark)}]"));

    /// <summary>The remarks with their marks, a line each.</summary>
    /// <returns>Empty where there are none.</returns>
    public override string ToString() => string.Concat(_remarks.Select((remark, i) => $"{(i == 0 ? "\n" : "")}[{i + 1}] {remark}\n"));

    int Number(string remark)
    {
        if (!_remarks.Contains(remark))
        {
            _remarks.Add(remark);
        }

        return _remarks.IndexOf(remark) + 1;
    }
}
