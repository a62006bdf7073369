//! The agents' spans as OTLP's. Both versions of their crate have the same types, as far as this goes.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use std::time::{SystemTime, UNIX_EPOCH};

fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

fn any(value: any_value::Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn list<T>(items: Vec<T>, convert: impl Fn(T) -> any_value::Value) -> any_value::Value {
    any_value::Value::ArrayValue(ArrayValue { values: items.into_iter().map(|item| any(convert(item))).collect() })
}

macro_rules! conversions {
    ($module:ident, $crate_:ident, $trace_id:expr, $span_id:expr) => {
        pub mod $module {
            use super::*;
            use $crate_::sdk::export::trace::SpanData;
            use $crate_::trace::SpanKind;
            use $crate_::{Array, Value};

            pub fn span(data: SpanData) -> Span {
                let context = &data.span_context;
                let parent = $span_id(data.parent_span_id);
                Span {
                    trace_id: $trace_id(context.trace_id()),
                    span_id: $span_id(context.span_id()),
                    trace_state: context.trace_state().header(),
                    parent_span_id: if parent.iter().all(|byte| *byte == 0) { Vec::new() } else { parent },
                    flags: u32::from(conversions!(@flags $module context)),
                    name: data.name.into_owned(),
                    kind: match data.span_kind {
                        SpanKind::Internal => 1,
                        SpanKind::Server => 2,
                        SpanKind::Client => 3,
                        SpanKind::Producer => 4,
                        SpanKind::Consumer => 5,
                    },
                    start_time_unix_nano: nanos(data.start_time),
                    end_time_unix_nano: nanos(data.end_time),
                    dropped_attributes_count: data.attributes.dropped_count(),
                    attributes: data.attributes.iter()
                        .map(|(key, value)| attribute(key.to_string(), value.clone())).collect(),
                    dropped_events_count: data.events.dropped_count(),
                    events: data.events.into_iter().map(|event| Event {
                        time_unix_nano: nanos(event.timestamp),
                        name: event.name.into_owned(),
                        attributes: event.attributes.into_iter()
                            .map(|pair| attribute(pair.key.to_string(), pair.value)).collect(),
                        dropped_attributes_count: event.dropped_attributes_count,
                    }).collect(),
                    dropped_links_count: data.links.dropped_count(),
                    links: data.links.into_iter().map(|link| Link {
                        trace_id: $trace_id(link.span_context().trace_id()),
                        span_id: $span_id(link.span_context().span_id()),
                        ..Default::default()
                    }).collect(),
                    status: Some(Status { message: data.status_message.into_owned(), code: data.status_code as i32 }),
                }
            }

            fn attribute(key: String, from: Value) -> KeyValue {
                KeyValue { key, value: Some(any(value(from))), ..Default::default() }
            }

            fn value(from: Value) -> any_value::Value {
                use any_value::Value::{BoolValue, DoubleValue, IntValue, StringValue};
                match from {
                    Value::Bool(flag) => BoolValue(flag),
                    Value::I64(number) => IntValue(number),
                    Value::F64(number) => DoubleValue(number),
                    Value::String(text) => StringValue(text.into_owned()),
                    Value::Array(Array::Bool(items)) => list(items, BoolValue),
                    Value::Array(Array::I64(items)) => list(items, IntValue),
                    Value::Array(Array::F64(items)) => list(items, DoubleValue),
                    Value::Array(Array::String(items)) => list(items, |text| StringValue(text.into_owned())),
                }
            }
        }
    };
    (@flags v0_14 $context:ident) => { $context.trace_flags() };
    (@flags v0_17 $context:ident) => { $context.trace_flags().to_u8() };
}

conversions!(
    v0_14,
    opentelemetry_0_14,
    |id: opentelemetry_0_14::trace::TraceId| id.to_byte_array().to_vec(),
    |id: opentelemetry_0_14::trace::SpanId| id.to_byte_array().to_vec()
);
conversions!(
    v0_17,
    opentelemetry_0_17,
    |id: opentelemetry_0_17::trace::TraceId| id.to_bytes().to_vec(),
    |id: opentelemetry_0_17::trace::SpanId| id.to_bytes().to_vec()
);
