using System.Diagnostics;

namespace OpenElm.Cli.Tests;

public sealed class CompletionTests
{
    [Fact]
    public void The_program_suggests_its_verbs() =>
        Assert.Equal("completion", Openelm.Run("[suggest:5]", "compl").Output.Trim());

    [Fact]
    public void The_program_suggests_the_values_of_an_argument() =>
        Assert.Contains("fish", Openelm.Run("[suggest:11]", "completion ").Output);

    [Theory]
    [InlineData("bash", "complete -o default -F")]
    [InlineData("zsh", "#compdef openelm")]
    [InlineData("fish", "complete -c openelm")]
    [InlineData("pwsh", "Register-ArgumentCompleter")]
    public void Each_shell_gets_its_own_script(string shell, string fragment)
    {
        (int code, string output, _) = Openelm.Run("completion", shell);
        Assert.Equal(0, code);
        Assert.Contains(fragment, output);
        Assert.Contains("[suggest:", output);
    }

    [Fact]
    public void Bash_completes_with_the_script()
    {
        string program = Path.Combine(AppContext.BaseDirectory, "openelm.dll");
        if (!File.Exists("/bin/bash"))
        {
            Assert.Skip("there is no /bin/bash here");
        }

        string script = Openelm.Run("completion", "bash").Output + $$"""

            openelm() { dotnet '{{program}}' "$@"; }
            COMP_LINE='./bin/openelm complet'; COMP_POINT=${#COMP_LINE}; COMP_WORDS=(./bin/openelm complet); COMP_CWORD=1
            _openelm_complete
            printf '%s\n' "${COMPREPLY[@]}"
            """;
        using Process bash = Process.Start(new ProcessStartInfo("/bin/bash", ["-c", script]) { RedirectStandardOutput = true })!;
        Assert.Equal("completion", bash.StandardOutput.ReadToEnd().Trim());
    }
}
