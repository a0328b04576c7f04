import { CodedError } from '../lib/coded-error.ts';

/** A configuration that cannot be used. The message names field, rule and remedy. */
export class ConfigError extends CodedError<'CONFIG_INVALID'> {
  /**
   * Upstream tells a text that is no configuration from one that says what cannot be. What is wrong in version 1 is the
   * former.
   */
  readonly stage: 'parsing' | 'checking';

  constructor(stage: ConfigError['stage'], message: string, options?: ErrorOptions) {
    super('CONFIG_INVALID', message, options);
    this.stage = stage;
  }
}
