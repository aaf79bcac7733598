"""The scripts that connect a shell to `artifactstore __complete`."""

from typing import Final

__all__ = ["SCRIPTS"]

# bash breaks words at the characters of COMP_WORDBREAKS, among them `:` and `=`: the whole line is passed instead of its words, and
# the program cuts off what bash has behind it already.
_BASH: Final = r"""# completion of artifactstore for bash; in ~/.bashrc: eval "$(artifactstore completion bash)"
_artifactstore() {
    local program="${1/#\~\//$HOME/}" how line
    COMPREPLY=()
    {
        read -r how
        while IFS= read -r line; do COMPREPLY+=("$(printf '%q' "$line")"); done
    } < <(command "$program" __complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)
    case "$how" in
        nospace) compopt -o nospace 2>/dev/null ;;
        files) compopt -o default -o nospace 2>/dev/null
            if [ "${#COMPREPLY[@]}" -gt 0 ]; then
                while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$2")
            fi ;;
    esac
}
complete -F _artifactstore artifactstore astore
"""

_ZSH: Final = r"""#compdef artifactstore astore
# completion of artifactstore for zsh; in ~/.zshrc, after compinit: eval "$(artifactstore completion zsh)"
_artifactstore() {
    local how line tab=$'\t'
    local -a lines names shown
    lines=("${(@f)$(command ${(Q)words[1]} __complete zsh "${(@Q)words[1,CURRENT-1]}" "$PREFIX" 2>/dev/null)}")
    how=$lines[1]
    for line in "${(@)lines[2,-1]}"; do
        names+=("${line%%$tab*}")
        shown+=("${line/$tab/  -- }")
    done
    if (( $#names )); then
        if [[ $how == space ]]; then compadd -l -d shown -a -- names; else compadd -S '' -l -d shown -a -- names; fi
    fi
    if [[ $how == files ]]; then _files; fi
}
if [ "$funcstack[1]" = _artifactstore ]; then _artifactstore "$@"; else compdef _artifactstore artifactstore astore; fi
"""

_FISH: Final = r"""# completion of artifactstore for fish; in ~/.config/fish/config.fish: artifactstore completion fish | source
function __artifactstore_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l lines (command $words[1] __complete fish $words "$current" 2>/dev/null)
    set -l how $lines[1]
    set -e lines[1]
    printf '%s\n' $lines
    if test "$how" = files
        __fish_complete_path "$current"
    end
end
complete -c artifactstore -f -a '(__artifactstore_complete)'
complete -c astore -f -a '(__artifactstore_complete)'
"""

# PowerShell quotes no candidate by itself, and what it passes begins with `&` where the program's path is quoted.
_POWERSHELL: Final = r"""# completion of artifactstore for PowerShell; in $PROFILE: artifactstore completion powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName @('artifactstore', 'astore') -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $program = $commandAst.GetCommandName()
    $before = $commandAst.CommandElements[0].Extent.StartOffset - $commandAst.Extent.StartOffset
    $length = $cursorPosition - $commandAst.Extent.StartOffset
    $line = $commandAst.ToString().PadRight($length).Substring($before, $length - $before)
    $version = $PSVersionTable.PSVersion
    if ($version.Major * 100 + $version.Minor -lt 703) { $line = $line -replace '"', '\"' }  # later ones do it themselves
    $how, $lines = & $program __complete powershell $line 2>$null
    foreach ($one in $lines) {
        $name, $remark = $one -split "`t", 2
        if (-not $remark) { $remark = $name }
        $text = $name
        if ($name -match '[^\w/.:=@+-]') { $text = "'" + $name.Replace("'", "''") + "'" }
        [System.Management.Automation.CompletionResult]::new($text, $name, 'ParameterValue', $remark)
    }
}
"""

SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH, "powershell": _POWERSHELL}
