/**
 * @file `heapwright completion`: what bash or zsh need to complete the command line.
 *
 * Made from the same data as parsing and help, so it cannot fall behind them.
 */
import { COMMON_OPTIONS, usageError } from './command.ts';
import type { Command, OptionValues } from './command.ts';
import { print, putJson } from './output.ts';

const SHELLS = ['bash', 'zsh'] as const;

/** The command; it needs the list that it is itself part of. */
export function completionCommand(commands: () => readonly Command[]): Command {
  return {
    name: 'completion',
    actions: SHELLS,
    summary: 'Print a completion script for bash or zsh',
    operands: 'bash | zsh',
    description: `
Prints a script that completes commands, options, kinds and file names.`,
    options: {},
    examples: [
      ['source <(heapwright completion bash)', 'For this bash; put it into ~/.bashrc to keep it.'],
      ['heapwright completion zsh > ~/.zfunc/_heapwright', 'For zsh, in a folder of its fpath.'],
    ],
    run: (values: OptionValues, operands: readonly string[]): number => {
      const [shell, ...more] = operands;
      if (more.length > 0 || !SHELLS.includes(shell as (typeof SHELLS)[number])) {
        throw usageError(
          `completion takes bash or zsh${shell === undefined ? '' : `, got '${operands.join(' ')}'`}`,
        );
      }
      const script = shell === 'bash' ? bash(commands()) : zsh(commands());
      if (typeof values['json'] === 'string') putJson({ shell, script }, values['json']);
      else print(script);
      return 0;
    },
  };
}

function optionWords(command: Command): string[] {
  return Object.entries({ ...command.options, ...COMMON_OPTIONS }).flatMap(([name, { short }]) =>
    short === undefined ? [`--${name}`] : [`--${name}`, `-${short}`],
  );
}

function bash(commands: readonly Command[]): string {
  const cases = commands.map((command) => {
    const choices = Object.entries(command.options)
      .filter(([, { choices: some }]) => some !== undefined)
      .map(([name, { short, choices: some = [] }]) => {
        const pattern = short === undefined ? `--${name}` : `--${name}|-${short}`;
        return `        ${pattern}) COMPREPLY=($(compgen -W '${some.join(' ')}' -- "$word")); return ;;`;
      });
    const values =
      choices.length === 0 ? '' : `      case "$before" in\n${choices.join('\n')}\n      esac\n`;
    const words = [...(command.actions ?? []), ...optionWords(command)].join(' ');
    return `    ${command.name})\n${values}      words='${words}' ;;`;
  });
  return `# bash completion of heapwright; made by: heapwright completion bash
_heapwright() {
  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}" words=''
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '${commands.map(({ name }) => name).join(' ')} --help --version' -- "$word"))
    return
  fi
  case "\${COMP_WORDS[1]}" in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word") $(compgen -f -- "$word"))
}
complete -o filenames -F _heapwright heapwright
`;
}

/** Text without what zsh would read as syntax. */
function quote(text: string): string {
  return text.replaceAll("'", '').replaceAll(/[[\]:]/gu, ' ');
}

function zsh(commands: readonly Command[]): string {
  const cases = commands.map((command) => {
    const options = Object.entries({ ...command.options, ...COMMON_OPTIONS }).map(
      ([name, { value, choices, summary }]) => {
        const action = choices === undefined ? ':value:_files' : `:value:(${choices.join(' ')})`;
        return `'--${name}[${quote(summary)}]${value === undefined ? '' : action}'`;
      },
    );
    const actions =
      command.actions === undefined ? [] : [`'1:action:(${command.actions.join(' ')})'`];
    return `    ${command.name}) _arguments ${[...actions, ...options, "'*:file:_files'"].join(' ')} ;;`;
  });
  return `#compdef heapwright
# zsh completion of heapwright; made by: heapwright completion zsh
_heapwright() {
  local -a commands
  commands=(${commands.map(({ name, summary }) => `'${name}:${quote(summary)}'`).join(' ')})
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
${cases.join('\n')}
  esac
}
if [ "$funcstack[1]" = _heapwright ]; then _heapwright "$@"; else compdef _heapwright heapwright; fi
`;
}
