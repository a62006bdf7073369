//! What a span means, as one JSON object named as OTLP/JSON names things. Its members are in alphabetical order; the
//! span's and the resource's attributes are sorted by key, an event's and a link's are in their order.

use opentelemetry::sdk::export::trace::SpanData;
use opentelemetry::trace::{Event, Link, SpanId, SpanKind, StatusCode};
use opentelemetry::{Array, Key, KeyValue, Value};
use serde::{Serialize, Serializer};
use std::fmt::Display;
use std::time::{SystemTime, UNIX_EPOCH};

/// A span as OTLP has it, and what of the agent's `SpanData` OTLP has no place for.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Meaning<'a> {
    attributes: Vec<Attribute<'a>>,
    dropped_attributes_count: u32,
    dropped_events_count: u32,
    dropped_links_count: u32,
    #[serde(serialize_with = "as_string")]
    end_time_unix_nano: u128,
    events: Vec<EventMeaning<'a>>,
    is_remote: bool,
    kind: u8,
    links: Vec<LinkMeaning<'a>>,
    name: &'a str,
    parent_span_id: String,
    /// `None` where the span carried none.
    resource: Option<Vec<Attribute<'a>>>,
    span_id: String,
    #[serde(serialize_with = "as_string")]
    start_time_unix_nano: u128,
    status: Status<'a>,
    trace_flags: u8,
    trace_id: String,
    trace_state: String,
}

#[derive(Serialize)]
struct Status<'a> {
    code: u8,
    message: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventMeaning<'a> {
    attributes: Vec<Attribute<'a>>,
    dropped_attributes_count: u32,
    name: &'a str,
    #[serde(serialize_with = "as_string")]
    time_unix_nano: u128,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LinkMeaning<'a> {
    attributes: Vec<Attribute<'a>>,
    dropped_attributes_count: u32,
    span_id: String,
    trace_flags: u8,
    trace_id: String,
    trace_state: String,
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'a str,
    value: AnyValue<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::enum_variant_names, reason = "they are OTLP/JSON's names")]
enum AnyValue<'a> {
    BoolValue(bool),
    #[serde(serialize_with = "as_string")]
    IntValue(i64),
    #[serde(serialize_with = "as_double")]
    DoubleValue(f64),
    StringValue(&'a str),
    ArrayValue {
        values: Vec<AnyValue<'a>>,
    },
}

impl<'a> From<&'a SpanData> for Meaning<'a> {
    fn from(span: &'a SpanData) -> Self {
        let context = &span.span_context;
        Meaning {
            attributes: sorted(span.attributes.iter()),
            dropped_attributes_count: span.attributes.dropped_count(),
            dropped_events_count: span.events.dropped_count(),
            dropped_links_count: span.links.dropped_count(),
            end_time_unix_nano: unix_nano(span.end_time),
            events: span.events.iter().map(EventMeaning::from).collect(),
            is_remote: context.is_remote(),
            kind: kind(&span.span_kind),
            links: span.links.iter().map(LinkMeaning::from).collect(),
            name: &span.name,
            parent_span_id: if span.parent_span_id == SpanId::invalid() {
                String::new()
            } else {
                span.parent_span_id.to_hex()
            },
            resource: span.resource.as_ref().map(|resource| sorted(resource.iter())),
            span_id: context.span_id().to_hex(),
            start_time_unix_nano: unix_nano(span.start_time),
            status: Status { code: status_code(&span.status_code), message: &span.status_message },
            trace_flags: context.trace_flags(),
            trace_id: context.trace_id().to_hex(),
            trace_state: context.trace_state().header(),
        }
    }
}

impl<'a> From<&'a Event> for EventMeaning<'a> {
    fn from(event: &'a Event) -> Self {
        EventMeaning {
            attributes: event.attributes.iter().map(Attribute::from).collect(),
            dropped_attributes_count: event.dropped_attributes_count,
            name: &event.name,
            time_unix_nano: unix_nano(event.timestamp),
        }
    }
}

impl<'a> From<&'a Link> for LinkMeaning<'a> {
    fn from(link: &'a Link) -> Self {
        let context = link.span_context();
        LinkMeaning {
            attributes: link.attributes().iter().map(Attribute::from).collect(),
            dropped_attributes_count: link.dropped_attributes_count(),
            span_id: context.span_id().to_hex(),
            trace_flags: context.trace_flags(),
            trace_id: context.trace_id().to_hex(),
            trace_state: context.trace_state().header(),
        }
    }
}

impl<'a> From<&'a KeyValue> for Attribute<'a> {
    fn from(attribute: &'a KeyValue) -> Self {
        Attribute { key: attribute.key.as_str(), value: AnyValue::from(&attribute.value) }
    }
}

impl<'a> From<&'a Value> for AnyValue<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Bool(value) => AnyValue::BoolValue(*value),
            Value::I64(value) => AnyValue::IntValue(*value),
            Value::F64(value) => AnyValue::DoubleValue(*value),
            Value::String(value) => AnyValue::StringValue(value),
            Value::Array(array) => AnyValue::ArrayValue {
                values: match array {
                    Array::Bool(values) => values.iter().copied().map(AnyValue::BoolValue).collect(),
                    Array::I64(values) => values.iter().copied().map(AnyValue::IntValue).collect(),
                    Array::F64(values) => values.iter().copied().map(AnyValue::DoubleValue).collect(),
                    Array::String(values) => values.iter().map(|value| AnyValue::StringValue(value)).collect(),
                },
            },
        }
    }
}

/// By the keys' bytes in UTF-8, which is the order of their code points.
fn sorted<'a>(attributes: impl Iterator<Item = (&'a Key, &'a Value)>) -> Vec<Attribute<'a>> {
    let mut attributes: Vec<_> =
        attributes.map(|(key, value)| Attribute { key: key.as_str(), value: AnyValue::from(value) }).collect();
    attributes.sort_unstable_by_key(|attribute| attribute.key);
    attributes
}

/// OTLP's `Span.SpanKind`.
fn kind(kind: &SpanKind) -> u8 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

/// OTLP's `Status.StatusCode`.
fn status_code(code: &StatusCode) -> u8 {
    match code {
        StatusCode::Unset => 0,
        StatusCode::Ok => 1,
        StatusCode::Error => 2,
    }
}

/// Nanoseconds since 1970, in full: a payload can hold times beyond what 64 bits hold.
fn unix_nano(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).expect("the wire has no times before 1970").as_nanos()
}

/// A 64-bit integer as OTLP/JSON has it.
fn as_string<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// A double as OTLP/JSON has it: what JSON has no number for is a string.
fn as_double<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() {
        serializer.serialize_f64(*value)
    } else if value.is_nan() {
        serializer.serialize_str("NaN")
    } else if *value > 0.0 {
        serializer.serialize_str("Infinity")
    } else {
        serializer.serialize_str("-Infinity")
    }
}
