namespace OpenElm.Evaluation.Data;

/// <summary>The folder that holds a folder for each data set, in the bundled form or in Hugging Face's layout.</summary>
/// <param name="Root">The folder.</param>
public sealed record EvaluationData(string Root)
{
    /// <summary>The variable that names the folder where <c>--data</c> does not.</summary>
    public const string EnvironmentVariable = "OPENELM_DATA";
}
