import * as otlp from "../../otlp/trace-fields.ts";
import * as tags from "./tags.ts";

/** `Span.SpanKind` by the value of the tag `span.kind`. */
const KINDS: readonly (readonly [name: string, kind: number])[] = [
  ["client", otlp.KIND_CLIENT],
  ["server", otlp.KIND_SERVER],
  ["producer", otlp.KIND_PRODUCER],
  ["consumer", otlp.KIND_CONSUMER],
  ["internal", otlp.KIND_INTERNAL],
];

/** `StatusCode` of the Go SDK, in which Error comes before Ok; OTLP has it the other way round. */
const GO_UNSET = 0;
const GO_ERROR = 1;
const GO_OK = 2;

/** A tag that is not there. */
const NO_TAG = -1;

/**
 * What a span's exporter has put into its tags: the tags that are found are consumed, the rest are attributes.
 *
 * Both exporters put their tags behind the user's, so the last tag with a name and a value that fit is the exporter's.
 * A user's attribute of the same name stays one. It is taken for the exporter's only if the exporter has written none.
 */
export class SpanMeaning {
  /** The span is of the Go exporter up to 0.15: its links and events look different too. */
  isOld = false;
  /** `Span.SpanKind`. */
  kind: number = otlp.KIND_INTERNAL;
  /** `Status.code`. */
  statusCode = 0;
  /** The tag with the status's message, -1 for none. */
  statusMessage: number = NO_TAG;
  /** The tags with the scope's name and version, -1 for none. */
  scopeName: number = NO_TAG;
  scopeVersion: number = NO_TAG;

  /** Takes the meaning out of the tags. */
  take(list: tags.TagList): void {
    this.statusCode = otlp.STATUS_UNSET;
    this.statusMessage = NO_TAG;
    this.isOld = this.#takeOldStatus(list);
    if (!this.isOld) this.#takeStatus(list);
    this.#takeKind(list);
    if (this.isOld) this.#takeScope(list, tags.OLD_SCOPE_NAME, tags.OLD_SCOPE_VERSION);
    else this.#takeScope(list, tags.SCOPE_NAME, tags.SCOPE_VERSION);
  }

  /**
   * The Go exporter up to 0.15 ends every span's tags with `status.code`, `status.message` and `span.kind`, in this
   * order, and `error` where it is one.
   */
  #takeOldStatus(list: tags.TagList): boolean {
    const hasError = list.is(list.count - 1, tags.ERROR, tags.TYPE_BOOL);
    const kind = list.count - (hasError ? 2 : 1);
    const message = kind - 1;
    const code = kind - 2;
    if (
      !list.is(code, tags.OLD_STATUS_CODE, tags.TYPE_LONG) ||
      !list.is(message, tags.OLD_STATUS_MESSAGE, tags.TYPE_STRING) ||
      !list.is(kind, tags.SPAN_KIND, tags.TYPE_STRING)
    ) return false;
    const value = list.uint32(code);
    if (value !== GO_UNSET && value !== GO_ERROR && value !== GO_OK) return false;
    this.statusCode = value === GO_ERROR ? otlp.STATUS_ERROR : value === GO_OK ? otlp.STATUS_OK : otlp.STATUS_UNSET;
    this.statusMessage = message;
    list.consume(code);
    list.consume(message);
    if (hasError && value === GO_ERROR) list.consume(list.count - 1);
    return true;
  }

  #takeStatus(list: tags.TagList): void {
    let code = NO_TAG;
    for (let tag = list.count - 1; tag >= 0 && code < 0; tag--) {
      this.statusCode = statusCode(list, tag);
      if (this.statusCode !== otlp.STATUS_UNSET) code = tag;
    }
    if (code >= 0) list.consume(code);
    if (this.statusCode !== otlp.STATUS_OK) {
      const error = this.#lastError(list);
      if (error >= 0) {
        // Without a code it is OpenTracing's way to say so.
        this.statusCode = otlp.STATUS_ERROR;
        list.consume(error);
        if (code < 0) code = error;
      }
    }
    if (code < 0) return;
    // The exporters write the description behind the code: one in front of it is the user's.
    const description = list.last(tags.STATUS_DESCRIPTION, tags.TYPE_STRING);
    if (description < code) return;
    this.statusMessage = description;
    list.consume(description);
  }

  /** The last `error` that is the boolean true: any other value is an attribute, such as Kata's own texts. */
  #lastError(list: tags.TagList): number {
    for (let tag = list.count - 1; tag >= 0; tag--) {
      if (list.is(tag, tags.ERROR, tags.TYPE_BOOL) && list.isTrue(tag)) return tag;
    }
    return NO_TAG;
  }

  #takeKind(list: tags.TagList): void {
    this.kind = otlp.KIND_INTERNAL;
    for (let tag = list.count - 1; tag >= 0; tag--) {
      if (!list.is(tag, tags.SPAN_KIND, tags.TYPE_STRING)) continue;
      for (const [name, kind] of KINDS) {
        if (!list.equals(tag, name)) continue;
        this.kind = kind;
        list.consume(tag);
        return;
      }
    }
  }

  #takeScope(list: tags.TagList, name: number, version: number): void {
    this.scopeName = list.last(name, tags.TYPE_STRING);
    this.scopeVersion = NO_TAG;
    if (this.scopeName < 0) return;
    list.consume(this.scopeName);
    // The version comes behind the name: one in front of it is the user's.
    const last = list.last(version, tags.TYPE_STRING);
    if (last < this.scopeName) return;
    this.scopeVersion = last;
    list.consume(last);
  }
}

/** The status that a tag tells as the newer exporters do: Go's by number, Rust's by name. Unset if it tells none. */
function statusCode(list: tags.TagList, tag: number): number {
  if (list.is(tag, tags.STATUS_CODE, tags.TYPE_LONG)) {
    const code = list.uint32(tag);
    return code === GO_ERROR ? otlp.STATUS_ERROR : code === GO_OK ? otlp.STATUS_OK : otlp.STATUS_UNSET;
  }
  if (list.is(tag, tags.STATUS_CODE, tags.TYPE_STRING)) {
    return list.equals(tag, "ERROR") ? otlp.STATUS_ERROR : list.equals(tag, "OK") ? otlp.STATUS_OK : otlp.STATUS_UNSET;
  }
  return otlp.STATUS_UNSET;
}
