using System.CommandLine;

namespace OpenElm.Cli.Commands;

/// <summary>
/// Prints a script that lets a shell complete verbs and options. The script asks the program itself, through the
/// <c>[suggest:POSITION]</c> directive, and passes the line without its first word, however the program was called.
/// </summary>
internal static class CompletionCommand
{
    const string Bash = """
        _openelm_complete() {
            local line="${COMP_LINE#* }"
            local position=$(( COMP_POINT - (${#COMP_LINE} - ${#line}) ))
            local IFS=$'\n'
            COMPREPLY=($(compgen -W "$(openelm "[suggest:$position]" "$line" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
        }
        complete -o default -F _openelm_complete openelm
        """;

    const string Zsh = """
        #compdef openelm
        _openelm() {
            local line="${BUFFER#* }"
            local position=$(( CURSOR - (${#BUFFER} - ${#line}) ))
            local -a found
            found=("${(@f)$(openelm "[suggest:$position]" "$line" 2>/dev/null)}")
            if [[ -n "$found" ]]; then
                compadd -a found
            else
                _files
            fi
        }
        compdef _openelm openelm
        """;

    const string Fish = """
        function __openelm_complete
            set -l line (commandline -cp | string replace -r '^\S+\s' '')
            openelm "[suggest:"(string length -- "$line")"]" "$line" 2>/dev/null
        end
        complete -c openelm -a '(__openelm_complete)'
        """;

    const string PowerShell = """
        Register-ArgumentCompleter -Native -CommandName openelm -ScriptBlock {
            param($word, $ast, $cursor)
            $line = $ast.ToString() -replace '^\S+\s?', ''
            $position = [Math]::Max(0, $cursor - ($ast.ToString().Length - $line.Length))
            openelm "[suggest:$position]" "$line" | ForEach-Object {
                [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
            }
        }
        """;

    public static Command Create(CommandContext context)
    {
        var shell = new Argument<string>("shell") { Description = "bash, zsh, fish or pwsh" };
        shell.AcceptOnlyFromAmong("bash", "zsh", "fish", "pwsh");
        var command = new Command("completion", "Print a script that completes openelm's verbs and options in a shell") { shell };
        command.SetAction(parsed => context.Output.WriteLine(parsed.GetRequiredValue(shell) switch
        {
            "bash" => Bash,
            "zsh" => Zsh,
            "fish" => Fish,
            _ => PowerShell,
        }));
        return command.WithExamples(
            "openelm completion bash > ~/.local/share/bash-completion/completions/openelm",
            "openelm completion zsh > ~/.zfunc/_openelm",
            "openelm completion fish > ~/.config/fish/completions/openelm.fish",
            "openelm completion pwsh >> $PROFILE");
    }
}
