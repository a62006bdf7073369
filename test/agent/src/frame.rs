//! A frame: the payload's length in 8 bytes, big endian; then the payload.

use std::fmt;
use std::io::{self, Read, Write};

/// The length of a frame's header, in bytes.
pub const HEADER_LENGTH: usize = 8;

/// Why there is no next frame.
#[derive(Debug)]
pub enum FrameError {
    /// The input ended inside a frame.
    Truncated {
        wanted: u64,
        came: u64,
    },
    Io(io::Error),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Truncated { wanted, came } => {
                write!(f, "frame truncated: {came} bytes of {wanted} came")
            }
            FrameError::Io(error) => write!(f, "cannot read a frame: {error}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// The header of a frame with this payload.
pub fn header(payload: &[u8]) -> [u8; HEADER_LENGTH] {
    (payload.len() as u64).to_be_bytes()
}

/// Writes one frame.
pub fn write(output: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    output.write_all(&header(payload))?;
    output.write_all(payload)
}

/// Reads the next frame's payload into `payload`, replacing what is there; false at the input's end. `payload` grows
/// with the bytes that come, not with what the header promises.
pub fn read(input: &mut impl Read, payload: &mut Vec<u8>) -> Result<bool, FrameError> {
    let wanted = HEADER_LENGTH as u64;
    let came = read_up_to(input, wanted, payload)?;
    if came == 0 {
        return Ok(false);
    }
    if came < wanted {
        return Err(FrameError::Truncated { wanted, came });
    }
    let wanted = u64::from_be_bytes(payload[..].try_into().expect("a header has 8 bytes"));
    let came = read_up_to(input, wanted, payload)?;
    if came < wanted {
        return Err(FrameError::Truncated { wanted, came });
    }
    Ok(true)
}

/// Replaces `bytes` with the next `wanted` bytes, or with what there is until the input's end; returns how many.
fn read_up_to(input: &mut impl Read, wanted: u64, bytes: &mut Vec<u8>) -> Result<u64, FrameError> {
    bytes.clear();
    let came = input.take(wanted).read_to_end(bytes).map_err(FrameError::Io)?;
    Ok(came as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = Vec::new();
        write(&mut bytes, b"span").unwrap();
        write(&mut bytes, b"").unwrap();
        assert_eq!(bytes, b"\0\0\0\0\0\0\0\x04span\0\0\0\0\0\0\0\0");

        let (mut input, mut payload) = (&bytes[..], Vec::new());
        assert!(read(&mut input, &mut payload).unwrap());
        assert_eq!(payload, b"span");
        assert!(read(&mut input, &mut payload).unwrap());
        assert_eq!(payload, b"");
        assert!(!read(&mut input, &mut payload).unwrap());
    }

    #[test]
    fn a_promise_of_2_to_the_64_bytes_costs_no_memory() {
        let mut input = &b"\xff\xff\xff\xff\xff\xff\xff\xffspan"[..];
        let error = read(&mut input, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "frame truncated: 4 bytes of 18446744073709551615 came");
    }
}
