namespace OpenElm.Cli;

internal static class Program
{
    static int Main(string[] args) => args.Length;
}
