//! Spans that have everything a span can have, and the extremes of it.

use super::{SDK_LIMIT, attributes, queue};
use crate::rng::Rng;
use opentelemetry::sdk::export::trace::SpanData;
use opentelemetry::sdk::{InstrumentationLibrary, Resource};
use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, StatusCode, TraceId, TraceState};
use opentelemetry::{Array, Key, KeyValue, Value};
use std::borrow::Cow;
use std::iter;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Keys that agents use, and keys that a host sets itself.
const KEYS: [&str; 10] =
    ["busy_ns", "idle_ns", "req", "mod", "sandbox_id", "container_id", "level", "target", "service.name", "vsock.cid"];

/// What goes wrong where text is escaped, measured or cut: quotes, controls, characters of two to four bytes, the two
/// line ends that only JavaScript knows, the byte order mark, the replacement character, the last code point.
const CHARACTERS: [char; 30] = [
    'a',
    'Z',
    '0',
    ' ',
    '/',
    '\\',
    '"',
    '\'',
    '<',
    '&',
    '{',
    '[',
    ',',
    '=',
    '\0',
    '\u{1}',
    '\u{8}',
    '\t',
    '\n',
    '\r',
    '\u{1f}',
    '\u{7f}',
    'é',
    '人',
    '\u{2028}',
    '\u{2029}',
    '\u{feff}',
    '\u{fffd}',
    '🦀',
    '\u{10ffff}',
];

const TRACE_STATES: [&[(&str, &str)]; 3] =
    [&[], &[("rojo", "00f067aa0ba902b7")], &[("kata", "a1b2"), ("tenant-1@a-vendor", "x:y /\"z\"")]];

const LONG_TEXT: u64 = 9_000;

/// A span with any of what a span can have.
pub fn random(rng: &mut Rng) -> SpanData {
    let start_time = time(rng);
    let end_time = if rng.one_in(8) { time(rng) } else { start_time + Duration::from_nanos(rng.below(1 << 33)) };
    let attributes_limit = limit(rng);
    let attributes_count = count(rng, 14);
    let events_limit = limit(rng);
    let events_count = count(rng, 4);
    let links_limit = limit(rng);
    let links_count = if rng.one_in(3) { count(rng, 4) } else { 0 };
    SpanData {
        span_context: context(rng),
        parent_span_id: if rng.one_in(5) { SpanId::invalid() } else { span_id(rng) },
        span_kind: rng
            .pick(&[SpanKind::Client, SpanKind::Server, SpanKind::Producer, SpanKind::Consumer, SpanKind::Internal])
            .clone(),
        name: if rng.one_in(5) { text(rng) } else { format!("op_{}", rng.below(50)) }.into(),
        start_time,
        end_time,
        attributes: attributes(attributes_limit, rng.many(attributes_count, attribute)),
        events: queue(events_limit, rng.many(events_count, event)),
        links: queue(links_limit, rng.many(links_count, link)),
        status_code: *rng.pick(&[StatusCode::Unset, StatusCode::Ok, StatusCode::Error]),
        status_message: if rng.one_in(4) { text(rng) } else { String::new() }.into(),
        resource: resource(rng).map(Arc::new),
        instrumentation_lib: InstrumentationLibrary::default(),
    }
}

/// A span with the doubles that JSON has no numbers for, as attributes.
pub fn nonfinite(rng: &mut Rng) -> SpanData {
    let doubles = [("nan", f64::NAN), ("inf", f64::INFINITY), ("ninf", f64::NEG_INFINITY)];
    SpanData {
        attributes: attributes(SDK_LIMIT, doubles.map(|(key, double)| KeyValue::new(key, double)).into()),
        events: queue(SDK_LIMIT, Vec::new()),
        links: queue(SDK_LIMIT, Vec::new()),
        ..random(rng)
    }
}

fn context(rng: &mut Rng) -> SpanContext {
    let trace_id = if rng.one_in(10) { *rng.pick(&[1, u128::MAX, 1 << 127, 1 << 64]) } else { rng.u128() };
    let trace_flags = if rng.one_in(4) { rng.below(256) } else { rng.below(2) } as u8;
    let trace_state = TraceState::from_key_value(rng.pick(&TRACE_STATES).iter().copied()).expect("all are valid");
    SpanContext::new(TraceId::from_u128(trace_id), span_id(rng), trace_flags, rng.one_in(2), trace_state)
}

fn span_id(rng: &mut Rng) -> SpanId {
    SpanId::from_u64(if rng.one_in(10) { *rng.pick(&[1, u64::MAX, 1 << 63, (1 << 53) + 1]) } else { rng.u64() })
}

/// A time that fits OTLP's 64 bits of nanoseconds.
fn time(rng: &mut Rng) -> SystemTime {
    // The end of a span that starts at the latest extreme may overflow those bits by the span's length.
    let nanoseconds = if rng.one_in(20) { *rng.pick(&[0, 1, u64::MAX - (1 << 33)]) } else { rng.u64() >> 2 };
    UNIX_EPOCH + Duration::from_nanos(nanoseconds)
}

/// The most that a span keeps of something: seldom less than there is.
fn limit(rng: &mut Rng) -> u32 {
    if rng.one_in(6) { *rng.pick(&[1, 4]) } else { SDK_LIMIT }
}

fn count(rng: &mut Rng, most: u64) -> u64 {
    if rng.one_in(4) { 0 } else { rng.below(most + 1) }
}

fn dropped(rng: &mut Rng) -> u32 {
    if rng.one_in(4) { *rng.pick(&[1, 7, u32::MAX]) } else { 0 }
}

fn event(rng: &mut Rng) -> Event {
    let attributes_count = count(rng, 5);
    Event::new(text(rng), time(rng), rng.many(attributes_count, attribute), dropped(rng))
}

fn link(rng: &mut Rng) -> Link {
    let attributes_count = count(rng, 5);
    let parts = (context(rng), rng.many(attributes_count, attribute), dropped(rng));
    // Only the SDK can make a link that dropped attributes; a link's fields as a tuple have the same bytes as a link.
    bincode::serialize(&parts).and_then(|bytes| bincode::deserialize(&bytes)).expect("they are a link's fields")
}

fn resource(rng: &mut Rng) -> Option<Resource> {
    match rng.below(3) {
        0 => None,
        1 => Some(Resource::empty()),
        _ => {
            let guest_says = [KeyValue::new("service.name", "guest-says"), KeyValue::new("host.name", text(rng))];
            let count = count(rng, 3);
            Some(Resource::new(guest_says.into_iter().chain(rng.many(count, attribute))))
        }
    }
}

fn attribute(rng: &mut Rng) -> KeyValue {
    let key = if rng.one_in(2) { Key::from(*rng.pick(&KEYS)) } else { Key::from(text(rng)) };
    KeyValue { key, value: value(rng) }
}

fn value(rng: &mut Rng) -> Value {
    match rng.below(5) {
        0 => Value::Bool(rng.one_in(2)),
        1 => Value::I64(integer(rng)),
        2 => Value::F64(double(rng)),
        3 => Value::String(text(rng).into()),
        _ => Value::Array(array(rng)),
    }
}

fn array(rng: &mut Rng) -> Array {
    let count = count(rng, 4);
    match rng.below(4) {
        0 => Array::Bool(rng.many(count, |rng| rng.one_in(2))),
        1 => Array::I64(rng.many(count, integer)),
        2 => Array::F64(rng.many(count, double)),
        _ => Array::String(rng.many(count, |rng| Cow::from(text(rng)))),
    }
}

fn integer(rng: &mut Rng) -> i64 {
    let extremes = [0, -1, i64::MIN, i64::MAX, 1 << 53, (1 << 53) + 1, -(1 << 53) - 1];
    if rng.one_in(2) { *rng.pick(&extremes) } else { rng.u64() as i64 }
}

fn double(rng: &mut Rng) -> f64 {
    let extremes = [0.0, -0.0, 5e-324, -5e-324, f64::MIN_POSITIVE, f64::MAX, f64::MIN, 1e308, 1e21, 1e-7, 0.1, 1.0];
    match rng.below(3) {
        0 => *rng.pick(&extremes),
        1 => rng.u64() as i64 as f64 / 1e9,
        _ => Some(f64::from_bits(rng.u64())).filter(|double| double.is_finite()).unwrap_or(-1.5),
    }
}

fn text(rng: &mut Rng) -> String {
    if rng.one_in(60) {
        return if rng.one_in(2) { "x".repeat(LONG_TEXT as usize) } else { characters(rng, LONG_TEXT / 3) };
    }
    let length = if rng.one_in(4) { rng.below(60) } else { rng.below(10) };
    characters(rng, length)
}

fn characters(rng: &mut Rng, length: u64) -> String {
    iter::repeat_with(|| *rng.pick(&CHARACTERS)).take(length as usize).collect()
}
