//! Judges OTLP trace requests with prost.
//!
//! Each request on standard input comes after its length, 4 bytes, big endian. For each that is refused there is a line
//! on standard output: the request's number, a tab, who refuses it, a tab, and why.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};

fn main() -> io::Result<()> {
    let mut input = BufReader::with_capacity(1 << 20, io::stdin().lock());
    let mut output = BufWriter::new(io::stdout().lock());
    let mut request = Vec::new();
    for number in 0.. {
        let mut header = [0; 4];
        match input.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
        request.resize(u32::from_be_bytes(header) as usize, 0);
        input.read_exact(&mut request)?;
        if let Err(error) = ExportTraceServiceRequest::decode(&request[..]) {
            writeln!(output, "{number}\tprost\t{}", error.to_string().replace('\n', " "))?;
        }
    }
    output.flush()
}
