/** Exit codes of all programs beside 0 and those of signals. */
export const ExitCode = {
  /** What was asked for could not be done. */
  failure: 1,
  /** The command line cannot be used. */
  usage: 2,
} as const;
