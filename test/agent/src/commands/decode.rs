//! The oracle: what the agent's own crates make of each payload.

use crate::encoding::Encoding;
use crate::frame::{self, FrameError};
use crate::meaning::Meaning;
use anyhow::{Context, Result};
use pico_args::Arguments;
use serde::Serialize;
use std::any::Any;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::panic;

const BUFFER_LENGTH: usize = 1 << 20;

#[derive(Serialize)]
struct Refused {
    error: String,
}

pub fn run(mut arguments: Arguments) -> Result<()> {
    let encoding = arguments.value_from_str("--encoding")?;
    super::finish(arguments)?;
    // A panic is a frame's error here, and not worth a report on standard error for each of many frames.
    panic::set_hook(Box::new(|_| {}));
    let stdin = BufReader::with_capacity(BUFFER_LENGTH, io::stdin().lock());
    decode(encoding, stdin, io::stdout().lock())
}

/// Writes a line for each frame of `input`, a last one that is truncated included.
pub fn decode(encoding: Encoding, mut input: BufReader<impl Read>, output: impl Write) -> Result<()> {
    let mut output = BufWriter::with_capacity(BUFFER_LENGTH, output);
    let mut payload = Vec::new();
    let mut line = Vec::new();
    loop {
        // Whoever sends a frame and waits for its line gets it.
        if input.buffer().is_empty() {
            output.flush().context("cannot write the lines")?;
        }
        match frame::read(&mut input, &mut payload) {
            Ok(true) => write_line(&mut line, &payload, encoding),
            Ok(false) => break,
            Err(error @ FrameError::Truncated { .. }) => refuse(&mut line, error.to_string()),
            Err(error @ FrameError::Io(_)) => return Err(error.into()),
        }
        output.write_all(&line).context("cannot write the lines")?;
    }
    output.flush().context("cannot write the lines")
}

fn write_line(line: &mut Vec<u8>, payload: &[u8], encoding: Encoding) {
    line.clear();
    let accepted = panic::catch_unwind(panic::AssertUnwindSafe(|| -> Result<()> {
        serde_json::to_writer(&mut *line, &Meaning::from(&encoding.decode(payload)?))?;
        Ok(())
    }));
    match accepted {
        Ok(Ok(())) => line.push(b'\n'),
        Ok(Err(error)) => refuse(line, error.to_string()),
        Err(panic) => refuse(line, format!("panic: {}", message(&*panic))),
    }
}

fn refuse(line: &mut Vec<u8>, error: String) {
    line.clear();
    serde_json::to_writer(&mut *line, &Refused { error }).expect("a string can be written");
    line.push(b'\n');
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it says nothing")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::spans::random;

    fn lines(encoding: Encoding, frames: &[u8]) -> Vec<serde_json::Value> {
        let mut output = Vec::new();
        decode(encoding, BufReader::new(frames), &mut output).unwrap();
        String::from_utf8(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn every_frame_has_its_line() {
        let span = random(&mut Rng::new(1));
        let mut frames = Vec::new();
        frame::write(&mut frames, &Encoding::Bincode.encode(&span).unwrap()).unwrap();
        frame::write(&mut frames, b"").unwrap();
        frame::write(&mut frames, b"{}").unwrap();
        frames.extend_from_slice(b"\0\0\0");

        let lines = lines(Encoding::Bincode, &frames);
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0], serde_json::to_value(Meaning::from(&span)).unwrap());
        assert!(lines[1]["error"].is_string());
        assert!(lines[2]["error"].is_string());
        assert_eq!(lines[3]["error"], "frame truncated: 3 bytes of 8 came");
    }

    #[test]
    fn a_time_beyond_64_bits_of_nanoseconds_is_told_in_full() {
        let payload = concat!(
            r#"{"span_context":{"trace_id":1,"span_id":1,"trace_flags":0,"is_remote":false,"trace_state":null},"#,
            r#""parent_span_id":0,"span_kind":"Client","name":"","#,
            r#""start_time":{"secs_since_epoch":0,"nanos_since_epoch":4294967295},"#,
            r#""end_time":{"secs_since_epoch":9223372036854775807,"nanos_since_epoch":999999999},"#,
            r#""attributes":{"map":{},"evict_list":[],"max_len":0,"dropped_count":0},"#,
            r#""events":{"queue":null,"max_len":0,"dropped_count":0},"#,
            r#""links":{"queue":null,"max_len":0,"dropped_count":0},"#,
            r#""status_code":"Unset","status_message":"","resource":null}"#,
        );
        let mut frames = Vec::new();
        frame::write(&mut frames, payload.as_bytes()).unwrap();

        let lines = lines(Encoding::Json, &frames);
        assert_eq!(lines[0]["startTimeUnixNano"], "4294967295");
        assert_eq!(lines[0]["endTimeUnixNano"], "9223372036854775807999999999");
    }
}
