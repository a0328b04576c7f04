import { createInterface } from 'node:readline';
import { Command } from 'commander';
import { type Answer, Inspector } from '../../image/inspect/inspect.ts';
import { reason } from '../../image/model/error.ts';
import { readBootstrap } from '../../image/read/load.ts';
import { addBootstrapOptions, type BootstrapFlags, blobSource, bootstrapPath } from './bootstrap-options.ts';
import { logFileOption, logLevelOption } from './common.ts';

const PROMPT = 'Inspecting RAFS :> ';
const COMMANDS = ['stats', 'ls', 'cd', 'stat', 'blobs', 'prefetch', 'chunk', 'icheck', 'help', 'exit'];

interface InspectFlags extends BootstrapFlags {
  readonly request?: string;
}

const EXAMPLES = `
Examples:
  Look around; help lists the commands:
    nydus-image inspect image.boot
  One question, answered in JSON:
    nydus-image inspect image.boot -R blobs
  Which files have the chunk at this offset of a blob?
    nydus-image inspect image.boot -R "chunk 18343"
`;

/** `nydus-image inspect`. */
export function inspectCommand(): Command {
  return addBootstrapOptions(
    new Command('inspect').description('Look into a bootstrap: directories, inodes, chunks, blobs.'),
  )
    .option(
      '-R, --request <command>',
      'execute one command and end; stats, blobs and prefetch answer in JSON',
    )
    .addOption(logLevelOption())
    .addOption(logFileOption())
    .addHelpText('after', EXAMPLES)
    .action(runInspect);
}

async function runInspect(
  argument: string | undefined,
  flags: InspectFlags,
  command: Command,
): Promise<void> {
  const path = bootstrapPath(argument, flags, command);
  // Blobs are not read; what is wrong with the configuration is said all the same.
  if (flags.config !== undefined) await (await blobSource(flags))?.close();
  const bootstrap = await readBootstrap(path);
  if (flags.request !== undefined) answerRequest(new Inspector(bootstrap, path, true), flags.request);
  else await converse(new Inspector(bootstrap, path, false));
}

function answerRequest(inspector: Inspector, request: string): void {
  const { text, value, refused } = inspector.execute(request);
  process.stdout.write(text);
  if (refused === null) {
    process.stdout.write(JSON.stringify(value));
    return;
  }
  if (refused === 'help') throw new Error('help is not supported in inspect request mode');
  const what = refused === 'argument' ? 'invalid arguments in' : 'unsupported';
  throw new Error(`${what} inspect request \`${request}\``);
}

/** Reads commands until `exit` or the end of the input. */
async function converse(inspector: Inspector): Promise<void> {
  const lines = createInterface({
    input: process.stdin,
    output: process.stdout,
    terminal: process.stdin.isTTY && process.stdout.isTTY,
    prompt: PROMPT,
    completer: (line: string) => complete(inspector, line),
  });
  lines.prompt();
  for await (const line of lines) {
    const answer = execute(inspector, line);
    process.stdout.write(answer.text);
    if (answer.exit) break;
    lines.prompt();
  }
  lines.close();
}

function execute(inspector: Inspector, line: string): Answer {
  try {
    return inspector.execute(line);
  } catch (error) {
    return { text: `Failed to execute command, ${reason(error)}\n`, value: null, refused: null };
  }
}

/** Commands, and names behind `cd` and `stat`. */
function complete(inspector: Inspector, line: string): [string[], string] {
  const [, command, name] = /^\s*(cd|stat)\s+(.*)$/.exec(line) ?? [];
  if (command === undefined)
    return [COMMANDS.filter((word) => word.startsWith(line.trimStart())), line.trimStart()];
  try {
    return [inspector.completions().filter((word) => word.startsWith(name!)), name!];
  } catch {
    return [[], name!];
  }
}
