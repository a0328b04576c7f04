import { CodedError } from '../lib/coded-error.ts';

/** What can be wrong with a request, before a handler sees it. */
type RequestErrorCode =
  | 'BAD_HTTP'
  | 'BAD_TARGET'
  | 'NO_ROUTE'
  | 'NO_METHOD'
  | 'TOO_LARGE'
  | 'MISSING_QUERY'
  | 'MISSING_BODY'
  | 'UNWANTED_BODY'
  | 'BAD_JSON'
  | 'BAD_BODY';

/** A request that is refused. The message says why; status and wording of the answer are the product's. */
export class RequestError extends CodedError<RequestErrorCode> {}

/** A required query parameter is missing (MISSING_QUERY). */
export class QueryError extends RequestError {
  readonly parameter: string;

  constructor(parameter: string) {
    super('MISSING_QUERY', `the query has no ${parameter}`);
    this.parameter = parameter;
  }
}

/** A place in a body; lines and columns count from 1. */
export interface TextPlace {
  readonly line: number;
  readonly column: number;
}

/** A body that is no JSON (BAD_JSON). The message is the parser's. */
export class JsonError extends RequestError {
  /** The first character that cannot be there; the end where the text is cut short. */
  readonly place: TextPlace;
  readonly isCutShort: boolean;

  constructor(message: string, place: TextPlace, isCutShort: boolean) {
    super('BAD_JSON', message);
    this.place = place;
    this.isCutShort = isCutShort;
  }
}

/** A body of JSON that is not what the schema wants (BAD_BODY). */
export class BodyError extends RequestError {
  /** Dotted path of the member, empty for the body itself. */
  readonly field: string;
  /** The member is not there; otherwise it is, and wrong. */
  readonly isMissing: boolean;
  /** The end of the body. */
  readonly place: TextPlace;

  constructor(message: string, field: string, isMissing: boolean, place: TextPlace) {
    super('BAD_BODY', `${field === '' ? 'the body' : field}: ${message}`);
    this.field = field;
    this.isMissing = isMissing;
    this.place = place;
  }
}
