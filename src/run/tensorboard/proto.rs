//! The part of TensorBoard's protocol buffers that scalars need.
//!
//! ```text
//! Event    1 wall_time: double   2 step: int64   3 file_version: string   5 summary: Summary
//! Summary  1 value: repeated Value
//! Value    1 tag: string   2 simple_value: float
//! ```
//! Source: `tensorflow/core/util/event.proto` and `framework/summary.proto`; the encoding is that of Protocol Buffers.

/// The first event of a file.
pub fn version(time: f64) -> Vec<u8> {
    let mut out = Vec::new();
    double(&mut out, 1, time);
    bytes(&mut out, 3, b"brain.Event:2");
    out
}

/// An event with scalars by their tags.
pub fn event(time: f64, step: usize, scalars: &[(String, f64)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, number) in scalars {
        let mut value = Vec::new();
        bytes(&mut value, 1, tag.as_bytes());
        key(&mut value, 2, 5);
        value.extend((*number as f32).to_le_bytes());
        bytes(&mut summary, 1, &value);
    }
    let mut out = Vec::new();
    double(&mut out, 1, time);
    key(&mut out, 2, 0);
    varint(&mut out, step as u64);
    bytes(&mut out, 5, &summary);
    out
}

fn key(out: &mut Vec<u8>, field: u8, kind: u8) {
    out.push(field << 3 | kind);
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn double(out: &mut Vec<u8>, field: u8, number: f64) {
    key(out, field, 1);
    out.extend(number.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u8, data: &[u8]) {
    key(out, field, 2);
    varint(out, data.len() as u64);
    out.extend(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_encoded_as_the_format_says() {
        // 150 is the example of the format's own description: 0x96 0x01.
        let mut wanted = vec![0x09];
        wanted.extend(1.5f64.to_le_bytes());
        wanted.extend([0x10, 0x96, 0x01, 0x2a, 10, 0x0a, 8, 0x0a, 1, b'a', 0x15]);
        wanted.extend(0.25f32.to_le_bytes());
        assert_eq!(event(1.5, 150, &[("a".to_owned(), 0.25)]), wanted);
        assert_eq!(version(0.0)[9..], [&[0x1a, 13][..], b"brain.Event:2"].concat());
    }
}
