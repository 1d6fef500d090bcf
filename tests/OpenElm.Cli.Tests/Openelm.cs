namespace OpenElm.Cli.Tests;

/// <summary>Runs the program inside the test's process.</summary>
internal static class Openelm
{
    public static (int Code, string Output, string Error) Run(params string[] args)
    {
        using StringWriter output = new(), error = new();
        int code = Program.Run(args, output, error);
        return (code, output.ToString(), error.ToString());
    }
}
