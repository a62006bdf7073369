//! Sends requests with hyper or tonic.

use anyhow::{Result, ensure};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tonic::transport::{Channel, Endpoint};

#[derive(Clone)]
pub enum Sender {
    Http(Client<HttpConnector, Full<Bytes>>, String),
    Grpc(TraceServiceClient<Channel>),
}

impl Sender {
    pub fn http(endpoint: String) -> Result<Self> {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Sender::Http(client, format!("{endpoint}/v1/traces")))
    }

    pub fn grpc(endpoint: String) -> Result<Self> {
        let channel = Endpoint::from_shared(endpoint)?.connect_lazy();
        Ok(Sender::Grpc(TraceServiceClient::new(channel)))
    }

    pub async fn send(self, spans: Vec<Span>) -> Result<()> {
        let request = request(spans);
        match self {
            Sender::Http(client, url) => {
                let body = Full::new(Bytes::from(request.encode_to_vec()));
                let request = hyper::Request::post(url).header(CONTENT_TYPE, "application/x-protobuf").body(body)?;
                let response = client.request(request).await?;
                ensure!(response.status().is_success(), "the collector answers {}", response.status());
                response.into_body().collect().await?;
            }
            Sender::Grpc(mut client) => {
                client.export(request).await?;
            }
        }
        Ok(())
    }
}

/// All spans with the host's resource.
fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let attribute = |key: &str, value: &str| KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(Value::StringValue(value.into())) }),
        ..Default::default()
    };
    let resource = Resource {
        attributes: vec![attribute("service.name", "kata-agent"), attribute("kata.sandbox.id", "a")],
        ..Default::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans { spans, ..Default::default() }],
            ..Default::default()
        }],
    }
}
